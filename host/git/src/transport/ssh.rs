//! `ssh://` and `user@host:path`: the server runs Git's program for us, on a channel of a connection that is kept.

use std::{
    io::{self, Read},
    time::Duration,
};

use atoll_net::{
    Dialler, Egress, Host, Place, Target,
    ssh::{self, Command, Key, SshError, Trust},
};
use atoll_send_pack::{Connection, Error, Pack, shown};
use bytes::{Buf as _, Bytes};

use super::{Line, Patience, Server, Service, Talk, Transport, line::Stage};

/// The port that nobody has to write.
const PORT: u16 = 22;

/// A repository that an account on a server can read.
pub struct Ssh {
    server: ssh::Ssh,
    path: String,
}

impl Ssh {
    /// `path` as the server's Git takes it: absolute, or below the account's home or another's (`~me/x.git`). Whoever wrote
    /// the address down is trusted with it: any address is dialled.
    pub fn server(
        dialler: &Dialler,
        (user, host, port): (&str, Host, u16),
        path: &str,
        key: Option<Key>,
        trust: Trust,
        patience: Patience,
    ) -> Server {
        let port_shown = if port == PORT { String::new() } else { format!(":{port}") };
        // As a URL says it: what lies below the account's home is another place than what lies below the root.
        let slash = match path.as_bytes() {
            [b'/', ..] => "",
            [b'~', ..] => "/",
            _ => "/~/",
        };
        let name = format!("ssh://{user}@{host}{port_shown}{slash}{path}");
        let target = Target { place: Place::Tcp { host, port }, tls: None, egress: Egress::Any, via: None };
        let server = ssh::Ssh::new(dialler, target, user, key, trust);
        Server::new(name, Self { server, path: path.to_owned() }, patience)
    }
}

impl Transport for Ssh {
    fn open(&self, service: Service, line: &Line) -> io::Result<Box<dyn Talk + '_>> {
        let connect = line.patience.connect;
        let command = format!("{} {}", service.name(), ssh::quoted(&self.path));
        let version: Vec<_> = service.version().map(|version| ("GIT_PROTOCOL", version)).into_iter().collect();
        let run = async { self.server.run(&command, &version, connect).await.map_err(failed) };
        let command = line.wait(connect * 2 + Duration::from_secs(1), run)?;
        Ok(Box::new(Running { command, stage: line.talk(), chunk: Bytes::new(), any: false }))
    }
}

/// With what is behind it.
fn failed(error: SshError) -> io::Error {
    match &error {
        SshError::Key(key) => {
            let source = std::error::Error::source(key).map(|source| format!(": {source}"));
            io::Error::other(format!("{key}{}", source.unwrap_or_default()))
        }
        _ => io::Error::other(error),
    }
}

/// A conversation.
struct Running {
    command: Command,
    stage: Stage,
    chunk: Bytes,
    /// Something came.
    any: bool,
}

impl Connection for Running {
    fn greet(&mut self) -> io::Result<()> {
        // The command speaks first.
        Ok(())
    }

    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()> {
        self.ask(message)?;
        self.stage.pack();
        let Some(pack) = pack else { return Ok(()) };
        let Self { command, stage, .. } = self;
        let mut offset = 0;
        while offset < pack.length() {
            let piece = Bytes::from(pack.piece(offset)?);
            offset += piece.len() as u64;
            stage.wait(command.write(piece))?;
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

impl Talk for Running {
    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        let Self { command, stage, .. } = self;
        stage.wait(command.write(Bytes::copy_from_slice(message)))
    }

    fn stateless(&self) -> bool {
        false
    }
}

impl Read for Running {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !out.is_empty() {
            let Self { command, stage, chunk, any } = self;
            match stage.wait(command.read())? {
                Some(bytes) => *chunk = bytes,
                None if !*any && !command.said().is_empty() => {
                    return Err(io::Error::other(Error::Said(shown(command.said()))));
                }
                None => return Ok(0),
            }
            *any = true;
        }
        let length = out.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}
