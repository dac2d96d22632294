//! `git://`: a connection, and one line that says what for. It has no credentials and no proof of who answers.

use std::io;

use atoll_net::{Dialler, Egress, Host, Place, Target};

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
        Ok(Box::new(Duplex::new(stream, line, opening)))
    }
}
