//! A conversation over one connection, both ways: `git://` and SSH.

use std::io::{self, Read};

use atoll_send_pack::{Connection, Pack};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    Talk,
    line::{Line, Stage},
};

/// What is read at once.
const CHUNK: usize = 64 * 1024;

pub(super) struct Duplex<S> {
    stream: S,
    stage: Stage,
    before_reading: fn(&S),
    /// What opens the conversation, until it was sent.
    opening: Vec<u8>,
    chunk: Vec<u8>,
    given: usize,
}

impl<S> Duplex<S> {
    /// `opening` goes out with the first message.
    pub(super) fn new(stream: S, line: &Line, opening: Vec<u8>) -> Self {
        Self { stream, stage: line.talk(), before_reading: |_| {}, opening, chunk: Vec::new(), given: 0 }
    }

    /// Has something done to the connection each time before it is waited for.
    pub(super) fn before_reading(self, before_reading: fn(&S)) -> Self {
        Self { before_reading, ..self }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex<S> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { stream, stage, .. } = self;
        stage.wait(async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection for Duplex<S> {
    fn greet(&mut self) -> io::Result<()> {
        let opening = std::mem::take(&mut self.opening);
        self.send(&opening)
    }

    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()> {
        self.ask(message)?;
        self.stage.pack();
        let Some(pack) = pack else { return Ok(()) };
        let mut offset = 0;
        while offset < pack.length() {
            let piece = pack.piece(offset)?;
            self.send(&piece)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn pack_follows(&mut self) {
        self.stage.pack();
    }

    fn talk_follows(&mut self) {
        self.stage.talk();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk for Duplex<S> {
    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.opening);
        bytes.extend_from_slice(message);
        self.send(&bytes)
    }

    fn stateless(&self) -> bool {
        false
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Duplex<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            self.chunk.resize(CHUNK, 0);
            self.given = 0;
            (self.before_reading)(&self.stream);
            let Self { stream, stage, chunk, .. } = self;
            let read = stage.wait(async { stream.read(chunk).await });
            self.chunk.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let length = out.len().min(self.chunk.len() - self.given);
        out[..length].copy_from_slice(&self.chunk[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}
