//! Keys that an agent holds (draft-miller-ssh-agent): it signs, and we never see them. Each is offered in the agent's order,
//! as far as a server listens.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use russh::{
    client::{AuthResult, Handle, Handler},
    keys::{
        HashAlg,
        agent::{AgentIdentity, client::AgentClient},
    },
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use crate::{Dialler, Egress, Place, Target};

/// Servers count what they were offered in vain: OpenSSH's hangs up at the sixth.
const OFFERED: usize = 5;

/// Why no key of an agent lets us in.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the agent at {0} cannot be reached: {1}")]
    Unreachable(PathBuf, String),
    #[error("the agent at {0} does not do what it is asked: {1}")]
    Broken(PathBuf, String),
    #[error("the agent at {0} holds no key, or is locked: add one, ssh-add FILE, or unlock it, ssh-add -X")]
    Empty(PathBuf),
    #[error(
        "the agent at {0}, or the server that is shown what it holds, did not answer within {1:?}: the agent may wait for somebody"
    )]
    Silent(PathBuf, Duration),
    #[error(
        "the server refuses for {user} what the agent at {socket} holds, as far as it was offered: {offered} of {held} keys"
    )]
    Refused { socket: PathBuf, user: String, offered: usize, held: usize },
}

/// Whether there is an agent to ask: somebody listens there. Does not wait.
pub(super) fn look(socket: &Path) -> Result<(), AgentError> {
    let unreachable = |words: String| AgentError::Unreachable(socket.to_owned(), words);
    let kind = fs::metadata(socket).map_err(|error| unreachable(error.to_string()))?.file_type();
    if !kind.is_socket() {
        let what = if kind.is_dir() { "a directory" } else { "a file" };
        return Err(unreachable(format!("it is {what}, and no socket")));
    }
    let connect = || -> Result<(), Errno> {
        let address = SocketAddrUnix::new(socket)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        connect(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?, &address)
    };
    match connect() {
        // A queue that is full is somebody's who listens.
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(Errno::CONNREFUSED) => Err(unreachable("nobody listens at this socket".to_owned())),
        Err(error) => Err(unreachable(io::Error::from(error).to_string())),
    }
}

/// Shows the server what the agent at `socket` holds. How long that takes is for the caller to bound.
pub(super) async fn authenticate<H: Handler>(
    dialler: &Dialler,
    socket: &Path,
    user: &str,
    session: &mut Handle<H>,
    limit: Duration,
) -> Result<(), AgentError> {
    look(socket)?;
    let at = || socket.to_owned();
    let target = Target { place: Place::Unix(at()), tls: None, egress: Egress::Any, via: None };
    let stream = dialler.connect(&target, limit).await;
    let stream = stream.map_err(|error| match error {
        crate::DialError::Io { source, .. } => AgentError::Unreachable(at(), source.to_string()),
        crate::DialError::Refused { .. } => AgentError::Unreachable(at(), "connection refused".to_owned()),
        error => AgentError::Unreachable(at(), error.to_string()),
    })?;
    let mut agent = AgentClient::connect(stream);
    let keys = agent.request_identities().await.map_err(|error| AgentError::Broken(at(), error.to_string()))?;
    if keys.is_empty() {
        return Err(AgentError::Empty(at()));
    }
    let held = keys.len();
    let (mut offered, mut declined) = (0, None);
    for key in keys.into_iter().take(OFFERED) {
        let hash = match &key {
            AgentIdentity::PublicKey { key, .. } if key.algorithm().is_rsa() => Some(HashAlg::Sha512),
            AgentIdentity::Certificate { certificate, .. } if certificate.algorithm().is_rsa() => Some(HashAlg::Sha512),
            _ => None,
        };
        let answer = match key {
            AgentIdentity::PublicKey { key, .. } => {
                session.authenticate_publickey_with(user, key, hash, &mut agent).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                session.authenticate_certificate_with(user, certificate, hash, &mut agent).await
            }
        };
        offered += 1;
        match answer {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(_) => {}
            // It may not sign with this one, a token that nobody touched; the next is another's.
            Err(error) if session.is_closed() => return Err(AgentError::Broken(at(), error.to_string())),
            Err(error) => declined = Some(error.to_string()),
        }
    }
    if let Some(words) = declined {
        return Err(AgentError::Broken(at(), words));
    }
    Err(AgentError::Refused { socket: at(), user: user.to_owned(), offered, held })
}
