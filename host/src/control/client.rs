//! The other end: what the commands ask a running host. Blocking, since a command has nothing else to do.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::BorrowedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    LARGEST_COMPONENT,
    messages::{Refusal, Reloaded, Reply, Request, Status},
};
use crate::journal::Entry;

/// Of a host's answer, in bytes.
const LARGEST_REPLY: u64 = 16 << 20;
/// For what a host does at once.
const PROMPT: Duration = Duration::from_secs(10);
/// For what takes a compiler and a proof of each component.
const PROOF: Duration = Duration::from_mins(30);

/// Talks to the host with one state directory.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// What comes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    Entry(Entry),
    /// So many lines came too fast.
    Lost(u64),
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no host answers at {}: start one with `host run`, or name its state directory with --state DIR", .socket.display())]
    NotRunning { socket: PathBuf },
    #[error("cannot connect to {}", .socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", .path.display())]
    Component {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is larger than {} MiB: not a component", .path.display(), LARGEST_COMPONENT >> 20)]
    TooLarge { path: PathBuf },
    /// The host's own words.
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("the host did not answer in time")]
    TimedOut,
    #[error("the host went away before it answered")]
    Gone(#[source] Option<io::Error>),
    #[error("the host answered what this version does not understand: are both of one version?")]
    Unexpected,
    /// The caller's own error, on what it was given.
    #[error(transparent)]
    Output(io::Error),
}

impl Client {
    pub fn new(state: &Path) -> Self {
        Self { socket: super::socket(state) }
    }

    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Ps {}, &[], PROMPT)? {
            Reply::Status(status) => Ok(status),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Sends a component's bytes; answers with the digest that serves now.
    pub fn swap(&self, name: &str, component: &Path) -> Result<String, ClientError> {
        let unreadable = |source| ClientError::Component { path: component.to_owned(), source };
        let file = std::fs::File::open(component).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(LARGEST_COMPONENT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let length = bytes.len() as u64;
        if length > LARGEST_COMPONENT {
            return Err(ClientError::TooLarge { path: component.to_owned() });
        }
        match self.ask(&Request::Swap { name: name.into(), length }, &bytes, PROOF)? {
            Reply::Swapped { digest } => Ok(digest),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub fn reload(&self) -> Result<Reloaded, ClientError> {
        match self.ask(&Request::Reload {}, &[], PROOF)? {
            Reply::Reloaded(reloaded) => Ok(reloaded),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Hands over each line; with `follow`, until the host ends, `each` fails, or nobody reads `reader` any more.
    pub fn logs(
        &self,
        follow: bool,
        name: Option<String>,
        reader: BorrowedFd<'_>,
        mut each: impl FnMut(LogEvent) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        // With `follow` the next line may be long in coming.
        let within = (!follow).then_some(PROMPT);
        let mut replies = self.send(&Request::Logs { follow, name }, &[], within)?;
        loop {
            if follow && replies.buffer().is_empty() {
                until_some_come(&replies, reader).map_err(ClientError::Output)?;
            }
            let event = match receive(&mut replies) {
                Ok(Reply::Line(entry)) => LogEvent::Entry(entry),
                Ok(Reply::Lost { lines }) => LogEvent::Lost(lines),
                Ok(Reply::End) => return Ok(()),
                // What is followed ends with the host.
                Err(ClientError::Gone(None)) if follow => return Ok(()),
                Ok(_) => return Err(ClientError::Unexpected),
                Err(error) => return Err(error),
            };
            each(event).map_err(ClientError::Output)?;
        }
    }

    fn ask(&self, request: &Request, body: &[u8], within: Duration) -> Result<Reply, ClientError> {
        receive(&mut self.send(request, body, Some(within))?)
    }

    fn send(
        &self,
        request: &Request,
        body: &[u8],
        within: Option<Duration>,
    ) -> Result<BufReader<UnixStream>, ClientError> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: self.socket.clone() }
            }
            _ => ClientError::Connect { socket: self.socket.clone(), source },
        })?;
        let gone = |error| ClientError::Gone(Some(error));
        stream.set_read_timeout(within).map_err(gone)?;
        stream.set_write_timeout(Some(PROMPT)).map_err(gone)?;
        let mut line = serde_json::to_vec(request).expect("a request is a map of plain values");
        line.push(b'\n');
        // A host that refuses does not read on: its reply says more than the error.
        let _ = stream.write_all(&line).and_then(|()| stream.write_all(body));
        Ok(BufReader::new(stream))
    }
}

/// Waits for bytes.
///
/// # Errors
/// Where `reader` has nobody at its other end any more: a pipe that is closed says so, whatever else is polled for.
fn until_some_come(replies: &BufReader<UnixStream>, reader: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let mut polled =
            [PollFd::new(replies.get_ref(), PollFlags::IN), PollFd::from_borrowed_fd(reader, PollFlags::empty())];
        match poll(&mut polled, None) {
            Ok(_) if polled[1].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(_) if polled[0].revents().is_empty() => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A refusal is an error.
fn receive(replies: &mut BufReader<UnixStream>) -> Result<Reply, ClientError> {
    let mut line = Vec::new();
    match replies.by_ref().take(LARGEST_REPLY).read_until(b'\n', &mut line) {
        Ok(_) if line.last() == Some(&b'\n') => {}
        Ok(_) if line.len() as u64 == LARGEST_REPLY => return Err(ClientError::Unexpected),
        Ok(_) => return Err(ClientError::Gone(None)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(ClientError::TimedOut);
        }
        Err(error) => return Err(ClientError::Gone(Some(error))),
    }
    match serde_json::from_slice(&line) {
        Ok(Reply::Failed(refusal)) => Err(ClientError::Refused(refusal)),
        Ok(reply) => Ok(reply),
        Err(_) => Err(ClientError::Unexpected),
    }
}
