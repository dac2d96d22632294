//! Ways to a Git server: each turns an address and its credentials into a conversation, over the one dialler. What is said
//! there is nobody's business here, and no program is ever run.

mod daemon;
mod duplex;
mod http;
mod line;
mod ssh;

use std::{
    fmt, io,
    sync::{Arc, Mutex},
};

use atoll_send_pack::{Connection, Session, greeting::Known};

pub(crate) use self::line::Line;
pub use self::{
    daemon::Daemon,
    http::{Http, check_token},
    line::Patience,
    ssh::Ssh,
};
use crate::{
    disk::lock,
    smart::{Look, SmartError},
};

/// What a server is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    /// As Git names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// The version of the protocol that is asked for, as Git says it: of pushing there is but the oldest, and some servers
    /// choke on another.
    fn version(self) -> Option<&'static str> {
        match self {
            Self::UploadPack => Some("version=2"),
            Self::ReceivePack => None,
        }
    }
}

/// An open conversation, to push by or to ask.
pub(crate) trait Talk: Connection {
    /// Sends a message; what is read next is the answer to it.
    fn ask(&mut self, message: &[u8]) -> io::Result<()>;
    /// Whether each message stands alone, and a greeting comes only where one is asked for.
    fn stateless(&self) -> bool;
    /// Whether it is held elsewhere than the next one will begin: what the greeting said need not be so there.
    fn strays(&self) -> bool {
        false
    }
}

/// A way to one repository on a server.
pub(crate) trait Transport: Send + Sync {
    fn open(&self, service: Service, line: &Line) -> io::Result<Box<dyn Talk + '_>>;
    /// What was opened came to nothing: what was learned of the way may be wrong.
    fn failed(&self) {}
}

/// A repository on a server. Clones are the same one, and share what is known of it.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    name: String,
    transport: Box<dyn Transport>,
    line: Line,
    /// So that looking at a branch takes one round trip.
    known: Mutex<Option<Known>>,
}

/// Why a server's branch cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{remote}: {why}")]
pub struct ServerError {
    /// Its address, without credentials.
    pub remote: String,
    pub why: SmartError,
}

impl Server {
    /// Called within a tokio runtime, which does the waiting. `name` is what it is called in messages.
    fn new(name: String, transport: impl Transport + 'static, patience: Patience) -> Self {
        let (transport, line) = (Box::new(transport), Line::new(patience));
        Self(Arc::new(Inner { name, transport, line, known: Mutex::default() }))
    }

    /// Its address, without credentials.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Ends whatever is under way, and all that would begin.
    pub(crate) fn stop(&self) {
        self.0.line.stop();
    }

    /// Looks up a branch. Blocks.
    pub(crate) fn look(&self, branch: Option<&str>) -> Result<Look<Box<dyn Talk + '_>>, SmartError> {
        let known = lock(&self.0.known).clone();
        let talk = self.0.transport.open(Service::UploadPack, &self.0.line)?;
        let mut look = Look::up(talk, known, branch);
        *lock(&self.0.known) = look.as_mut().ok().and_then(Look::known);
        look
    }

    /// Looks up a ref that is to be updated. Blocks.
    pub(crate) fn receiver(&self, name: &str) -> Result<Session<Box<dyn Talk + '_>>, SmartError> {
        let talk = self.0.transport.open(Service::ReceivePack, &self.0.line)?;
        Ok(Session::open(talk, &[name])?)
    }

    /// Something of it failed: what was learned of the way to it may be wrong, and is forgotten.
    pub(crate) fn error(&self, why: SmartError) -> ServerError {
        self.0.transport.failed();
        *lock(&self.0.known) = None;
        ServerError { remote: self.0.name.clone(), why }
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Server {}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.0.name).finish()
    }
}

impl<T: Talk + ?Sized> Talk for Box<T> {
    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        (**self).ask(message)
    }

    fn stateless(&self) -> bool {
        (**self).stateless()
    }

    fn strays(&self) -> bool {
        (**self).strays()
    }
}
