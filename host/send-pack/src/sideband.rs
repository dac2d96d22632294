//! A pack, or a report, out of its side-band (gitprotocol-pack(5), `side-band-64k`): progress is dropped but for its first
//! words, and an error of the server's is one.

use std::io::{self, Read};

use crate::{
    Error, MAX_WORDS,
    packet::{Packet, Packets},
};

/// The bytes of band 1. An error that it reads is an [`Error`], of which [`Error::of`] makes it one again.
pub struct Sideband<R> {
    packets: Packets<R>,
    /// What is left of the last packet.
    data: Vec<u8>,
    given: usize,
    ended: bool,
    /// Band 2, as far as it is repeated.
    words: Vec<u8>,
}

impl<R: Read> Sideband<R> {
    /// What `packets` carry. `first` is a packet that was read already.
    ///
    /// # Errors
    /// What `first` is: an error of the server's, or no packet of a side-band.
    pub fn new(packets: Packets<R>, first: Option<Vec<u8>>) -> Result<Self, Error> {
        let mut sideband = Self { packets, data: Vec::new(), given: 0, ended: false, words: Vec::new() };
        if let Some(first) = first {
            sideband.accept(&first)?;
        }
        Ok(sideband)
    }

    /// What the server said beside the pack so far, or the beginning of it.
    pub fn words(&self) -> &[u8] {
        &self.words
    }

    /// What it comes from.
    pub fn talk(&mut self) -> &mut R {
        self.packets.inner()
    }

    fn accept(&mut self, packet: &[u8]) -> Result<(), Error> {
        match packet.split_first() {
            Some((1, data)) => {
                self.data.clear();
                self.data.extend_from_slice(data);
                self.given = 0;
                Ok(())
            }
            Some((2, words)) => {
                let room = MAX_WORDS.saturating_sub(self.words.len());
                self.words.extend_from_slice(&words[..words.len().min(room)]);
                Ok(())
            }
            Some((3, words)) => Err(Error::said(words)),
            _ => Err(Error::Framing("a packet of no side-band")),
        }
    }

    fn refill(&mut self) -> Result<(), Error> {
        while self.given == self.data.len() && !self.ended {
            let packet = match self.packets.next()? {
                Packet::Data(data) => Some(data.to_vec()),
                Packet::Flush => None,
                Packet::Delimiter => return Err(Error::Framing("a delimiter in a pack")),
            };
            match packet {
                Some(packet) => self.accept(&packet)?,
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Sideband<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !out.is_empty() {
            self.refill().map_err(|error| match error {
                Error::Io(error) => error,
                error => io::Error::other(error),
            })?;
        }
        let length = out.len().min(self.data.len() - self.given);
        out[..length].copy_from_slice(&self.data[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut sideband = Sideband::new(Packets::new(bytes), None).unwrap();
        match sideband.read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(Error::of(error).to_string()),
        }
    }

    #[test]
    fn bands_are_told_apart() {
        assert_eq!(read(b"0007\x01ab0005\x010008\x02...0006\x01c0000").unwrap(), b"abc");
        for (bytes, message) in [
            (&b"0007\x01ab"[..], "the connection ended early"),
            (b"000d\x03no disk\n", "the server says \"no disk\""),
            (b"0005\x04", "this is not the Git protocol: a packet of no side-band"),
            (b"0004", "this is not the Git protocol: a packet of no side-band"),
            (b"0001", "this is not the Git protocol: a delimiter in a pack"),
        ] {
            assert_eq!(read(bytes).unwrap_err(), message, "{bytes:?}");
        }
    }
}
