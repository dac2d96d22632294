//! `git://`: a connection, and one line that says what for. It has no credentials and no proof of who answers.

use std::io;

use atoll_net::{Dialler, Egress, Host, Place, Stream, Target};
use rustix::net::sockopt::set_tcp_quickack;

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
    /// `path` as the server's Git takes it: absolute, or in somebody's home (`~me/x.git`). Whoever wrote the address down is
    /// trusted with it: any address is dialled.
    pub fn server(dialler: &Dialler, host: Host, port: u16, path: &str, patience: Patience) -> Server {
        let shown = if port == PORT { host.to_string() } else { format!("{host}:{port}") };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let name = format!("git://{shown}{slash}{path}");
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
        Ok(Box::new(Duplex::new(stream, line, opening).before_reading(acknowledge)))
    }
}

/// What comes is acknowledged at once. A server writes in small pieces, and each waits until the one before it was: for 40 ms
/// where the kernel hopes to send that along with something.
fn acknowledge(stream: &Stream) {
    if let Stream::Tcp(socket) = stream {
        // It does not outlast what is sent. Where it can't be had, it takes longer.
        let _ = set_tcp_quickack(socket, true);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        os::fd::AsFd as _,
    };

    use rustix::net::sockopt::tcp_quickack;
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn what_comes_is_acknowledged_at_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = runtime.block_on(TcpStream::connect(listener.local_addr().unwrap())).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let socket = near.as_fd().try_clone_to_owned().unwrap();
        let line = {
            let _within = runtime.enter();
            Line::new(Patience::default())
        };
        let mut duplex = Duplex::new(Stream::Tcp(near), &line, Vec::new()).before_reading(acknowledge);
        for piece in [b"one", b"two"] {
            // As after each message of ours.
            set_tcp_quickack(&socket, false).unwrap();
            far.write_all(piece).unwrap();
            let mut read = [0; 3];
            duplex.read_exact(&mut read).unwrap();
            assert_eq!((&read, tcp_quickack(&socket).unwrap()), (piece, true));
        }
    }
}
