//! What a session talks over: a connection of the caller's, of whatever kind.

use std::io::{self, Read, Write};

use crate::Pack;

/// An open conversation with a `git receive-pack`: what is read is what the server answers.
///
/// Over one connection both ways (git://, SSH, a child process) [`Duplex`] is one. Over HTTP (gitprotocol-http(5))
/// [`greet`](Self::greet) is `GET …/info/refs?service=git-receive-pack`, [`push`](Self::push) is
/// `POST …/git-receive-pack`, and what is read is the body of the answer to the last of them.
pub trait Connection: Read {
    /// Has the server say what it is and what it has.
    ///
    /// # Errors
    /// Of the connection.
    fn greet(&mut self) -> io::Result<()>;

    /// Sends a message, and a pack after it if there is one; what is read next is the answer to both.
    ///
    /// # Errors
    /// Of the connection, or of reading the pack. What the server said before it hung up is read all the same.
    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()>;

    /// From here on the answer may take long: the server looks at the pack, and its hooks run. For whoever has a patience.
    fn pack_follows(&mut self) {}

    /// From here on it is talk again.
    fn talk_follows(&mut self) {}
}

/// A conversation over two streams, or the two halves of one.
#[derive(Debug)]
pub struct Duplex<R, W> {
    from: R,
    to: W,
    opening: Vec<u8>,
}

impl<R: Read, W: Write> Duplex<R, W> {
    /// With a `git receive-pack` that runs already: in a child process, or at the other end of an SSH channel.
    pub fn new(from: R, to: W) -> Self {
        Self { from, to, opening: Vec::new() }
    }

    /// With a `git daemon` (gitprotocol-pack(5), "Git Transport"), whose repository is at `path` on `host`, as `HOST` or
    /// `HOST:PORT`.
    ///
    /// # Errors
    /// A path or a host with a NUL in it, or longer than a packet: the daemon would take it for another.
    pub fn daemon(from: R, to: W, path: &str, host: &str) -> io::Result<Self> {
        let line = format!("git-receive-pack {path}\0host={host}\0");
        if path.contains('\0') || host.contains('\0') || line.len() > 4096 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path or a host that no git daemon can have"));
        }
        Ok(Self { from, to, opening: format!("{:04x}{line}", line.len() + 4).into_bytes() })
    }
}

impl<R: Read, W: Write> Read for Duplex<R, W> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.from.read(out)
    }
}

impl<R: Read, W: Write> Connection for Duplex<R, W> {
    fn greet(&mut self) -> io::Result<()> {
        self.to.write_all(&std::mem::take(&mut self.opening))?;
        self.to.flush()
    }

    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()> {
        self.to.write_all(message)?;
        let mut offset = 0;
        while let Some(pack) = pack.filter(|pack| offset < pack.length()) {
            let piece = pack.piece(offset)?;
            self.to.write_all(&piece)?;
            offset += piece.len() as u64;
        }
        self.to.flush()
    }
}

impl<C: Connection + ?Sized> Connection for Box<C> {
    fn greet(&mut self) -> io::Result<()> {
        (**self).greet()
    }

    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()> {
        (**self).push(message, pack)
    }

    fn pack_follows(&mut self) {
        (**self).pack_follows();
    }

    fn talk_follows(&mut self) {
        (**self).talk_follows();
    }
}
