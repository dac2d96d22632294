//! Packet lines: how every message of the protocol is cut up (gitprotocol-common(5)). All of it is hostile: lengths are
//! checked before anything is read, and what may be said beside a pack is bounded.

use std::io::Read;

use crate::Error;

/// Git's own limit for one packet, its length included.
const MAX_PACKET: usize = 65_520;

/// What a server may say in one conversation that is no pack, in bytes: 200,000 refs.
const MAX_TALK: u64 = 16 * 1024 * 1024;

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The end of a message.
    Flush,
    /// Between two parts of one.
    Delimiter,
    /// Bytes that mean something.
    Data(&'a [u8]),
}

/// Packets as they come.
pub struct Packets<R> {
    from: R,
    data: Vec<u8>,
    talked: u64,
}

enum Kind {
    Flush,
    Delimiter,
    Data,
}

impl<R: Read> Packets<R> {
    /// Those that are read from `from`.
    pub fn new(from: R) -> Self {
        Self { from, data: Vec::new(), talked: 0 }
    }

    /// What they come from.
    pub fn inner(&mut self) -> &mut R {
        &mut self.from
    }

    /// The next one, of which there may be as many as there are.
    ///
    /// # Errors
    /// What is no packet, or the connection's.
    #[expect(clippy::should_implement_trait, reason = "what it yields borrows")]
    pub fn next(&mut self) -> Result<Packet<'_>, Error> {
        let kind = self.advance()?;
        Ok(self.packet(&kind))
    }

    /// The next one of the talk around a pack. A server's own word for an error is one.
    ///
    /// # Errors
    /// As [`Self::next`]; [`Error::Said`]; and [`Error::TooMuch`] after 16 MiB of it.
    pub fn talk(&mut self) -> Result<Packet<'_>, Error> {
        let kind = self.advance()?;
        self.talked += self.data.len() as u64 + 4;
        if self.talked > MAX_TALK {
            return Err(Error::TooMuch(MAX_TALK));
        }
        if let (Kind::Data, Some(words)) = (&kind, self.data.strip_prefix(b"ERR ")) {
            return Err(Error::said(words));
        }
        Ok(self.packet(&kind))
    }

    /// The next one of the talk, without the line's end; nothing where the message ends.
    ///
    /// # Errors
    /// As [`Self::talk`].
    pub fn line(&mut self) -> Result<Option<&[u8]>, Error> {
        match self.talk()? {
            Packet::Data(data) => Ok(Some(data.strip_suffix(b"\n").unwrap_or(data))),
            Packet::Flush => Ok(None),
            Packet::Delimiter => Err(Error::Framing("a delimiter where a line belongs")),
        }
    }

    fn advance(&mut self) -> Result<Kind, Error> {
        self.data.clear();
        let mut digits = [0; 4];
        self.from.read_exact(&mut digits).map_err(Error::of)?;
        let mut length = 0;
        for digit in digits {
            let digit = char::from(digit).to_digit(16).ok_or(Error::Framing("a packet without a length"))?;
            length = length << 4 | usize::try_from(digit).expect("one digit");
        }
        match length {
            0 => Ok(Kind::Flush),
            1 => Ok(Kind::Delimiter),
            4..=MAX_PACKET => {
                self.data.resize(length - 4, 0);
                self.from.read_exact(&mut self.data).map_err(Error::of)?;
                Ok(Kind::Data)
            }
            _ => Err(Error::Framing("a packet of a length that does not exist")),
        }
    }

    fn packet(&self, kind: &Kind) -> Packet<'_> {
        match kind {
            Kind::Flush => Packet::Flush,
            Kind::Delimiter => Packet::Delimiter,
            Kind::Data => Packet::Data(&self.data),
        }
    }
}

/// A message that is being written.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// One line of text; its end is put to it.
    pub fn line(&mut self, text: &str) -> &mut Self {
        self.data(format!("{text}\n").as_bytes())
    }

    /// One packet as it is: ours are far shorter than a packet may be.
    pub fn data(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(format!("{:04x}", bytes.len() + 4).as_bytes());
        self.0.extend(bytes);
        self
    }

    /// The end of one of its parts.
    pub fn delimiter(&mut self) -> &mut Self {
        self.0.extend(b"0001");
        self
    }

    /// Its end.
    pub fn flush(&mut self) -> &mut Self {
        self.0.extend(b"0000");
        self
    }

    /// As it goes out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart() {
        let mut packets = Packets::new(&b"0007abc000400010000"[..]);
        assert_eq!(packets.next().unwrap(), Packet::Data(b"abc"));
        assert_eq!(packets.next().unwrap(), Packet::Data(b""));
        assert_eq!(packets.next().unwrap(), Packet::Delimiter);
        assert_eq!(packets.talk().unwrap(), Packet::Flush);
        let mut message = Message::default();
        message.line("want x").delimiter().flush();
        assert_eq!(message.into_bytes(), b"000bwant x\n00010000");
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        for (bytes, message) in [
            (&b""[..], "the connection ended early"),
            (b"00", "the connection ended early"),
            (b"0009abc", "the connection ended early"),
            (b"0002", "this is not the Git protocol: a packet of a length that does not exist"),
            (b"0003", "this is not the Git protocol: a packet of a length that does not exist"),
            (b"fff1", "this is not the Git protocol: a packet of a length that does not exist"),
            (b"HTTP", "this is not the Git protocol: a packet without a length"),
            (b"-001", "this is not the Git protocol: a packet without a length"),
            (b"0010ERR no\x1b[2Jno", "the server says \"no\\u{1b}[2Jno\""),
            (b"0001", "this is not the Git protocol: a delimiter where a line belongs"),
        ] {
            assert_eq!(Packets::new(bytes).line().unwrap_err().to_string(), message, "{bytes:?}");
        }
    }

    #[test]
    fn talk_has_an_end() {
        let endless = b"0008chat".repeat(3_000_000);
        let mut packets = Packets::new(&endless[..]);
        let error = loop {
            if let Err(error) = packets.talk() {
                break error;
            }
        };
        assert_eq!(error.to_string(), "the server says more than 16777216 bytes beside the pack");
    }
}
