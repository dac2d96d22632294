//! `git://`: a connection, and one line that says what for. It has no credentials and no proof of who answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use atoll_net::{Dialler, Egress, Host, Place, Stream, Target};
use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Line, Patience, Server, Service, Talk, Transport, duplex::Duplex};

/// The port that nobody has to write.
const PORT: u16 = 9418;

/// A repository of a `git daemon`.
pub struct Daemon {
    dialler: Dialler,
    target: Target,
    path: String,
}

impl Daemon {
    /// `path` begins with a slash. Whoever wrote the address down is trusted with it: any address is dialled.
    pub fn server(dialler: &Dialler, host: Host, port: u16, path: &str, patience: Patience) -> Server {
        let shown = if port == PORT { host.to_string() } else { format!("{host}:{port}") };
        let name = format!("git://{shown}{path}");
        let target = Target { place: Place::Tcp { host, port }, tls: None, egress: Egress::Any, via: None };
        Server::new(name, Self { dialler: dialler.clone(), target, path: path.to_owned() }, patience)
    }
}

impl Transport for Daemon {
    fn open(&self, service: Service, line: &Line) -> io::Result<Box<dyn Talk + '_>> {
        let limit = line.patience.connect;
        let connect = async { self.dialler.connect(&self.target, limit).await.map_err(io::Error::other) };
        let stream = line.wait(limit * 2, connect)?;
        let (version, service) = (service.version(), service.name());
        let (path, place) = (&self.path, &self.target.place);
        // Further parameters stand behind a second NUL, where older servers do not look.
        let version = version.map(|version| format!("\0{version}\0")).unwrap_or_default();
        let opening = format!("{service} {path}\0host={place}\0{version}");
        let opening = format!("{:04x}{opening}", opening.len() + 4).into_bytes();
        Ok(Box::new(Duplex::new(Prompt(stream), line, opening)))
    }
}

/// What comes is acknowledged at once. A server writes in small pieces, and each waits until the one before it was: for 40 ms
/// where the kernel hopes to send that along with something.
struct Prompt(Stream);

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Stream::Tcp(socket) = &self.0 {
            // It does not outlast what is sent. Where it can't be had, it takes longer.
            let _ = set_tcp_quickack(socket, true);
        }
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
