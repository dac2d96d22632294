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
        Algorithm, HashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
        key::parse_public_key,
    },
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{Dialler, Egress, Place, Target};

/// Servers count what they were offered in vain: OpenSSH's hangs up at the sixth.
const OFFERED: usize = 5;

/// The longest list of keys that is read, in bytes: OpenSSH's agent takes no longer message either.
const LONGEST: usize = 256 * 1024;

/// What asks for the list, and what begins it.
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

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
    let mut stream = stream.map_err(|error| match error {
        crate::DialError::Io { source, .. } => AgentError::Unreachable(at(), source.to_string()),
        crate::DialError::Refused { .. } => AgentError::Unreachable(at(), "connection refused".to_owned()),
        error => AgentError::Unreachable(at(), error.to_string()),
    })?;
    let keys = list(&mut stream).await.map_err(|error| AgentError::Broken(at(), error.to_string()))?;
    let mut agent = AgentClient::connect(stream);
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

/// What an agent holds, in its order. russh's own list is of no use where a comment, which may be of any bytes, is not UTF-8,
/// or one key of a kind that is not known here: that one is left out.
async fn list(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Vec<AgentIdentity>> {
    stream.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).await?;
    stream.flush().await?;
    let length = stream.read_u32().await? as usize;
    if length > LONGEST {
        return Err(io::Error::other(format!("its list of keys has more than {LONGEST} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    // Whatever else it says is that it has none to show.
    let Some((&IDENTITIES_ANSWER, list)) = answer.split_first() else { return Ok(Vec::new()) };
    identities(list).ok_or_else(|| io::Error::other("its list of keys ends early"))
}

fn identities(list: &[u8]) -> Option<Vec<AgentIdentity>> {
    let (count, mut rest) = number(list)?;
    let mut identities = Vec::new();
    for _ in 0..count {
        let (key, after) = string(rest)?;
        let (_, after) = string(after)?;
        rest = after;
        let Some(key) = parse_public_key(key).ok().filter(is_known) else { continue };
        let comment = String::new();
        identities.push(match key.key_data().certificate().cloned() {
            Some(certificate) => AgentIdentity::Certificate { certificate, comment },
            None => AgentIdentity::PublicKey { key, comment },
        });
    }
    Some(identities)
}

fn is_known(key: &PublicKey) -> bool {
    !matches!(key.algorithm(), Algorithm::Other(_))
}

/// RFC 4251, section 5.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(length as usize)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn framed(pieces: &[&[u8]]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| [&u32::try_from(piece.len()).unwrap().to_be_bytes(), *piece].concat()).collect()
    }

    #[tokio::test]
    async fn what_an_agent_says_it_holds() {
        let key: russh::keys::PublicKey = KEY.parse().unwrap();
        let blob = key.to_bytes().unwrap();
        let odd = framed(&[b"ssh-odd@a.test", b"x"]);
        let list =
            |count: u32, pieces: &[&[u8]]| [&[IDENTITIES_ANSWER][..], &count.to_be_bytes(), &framed(pieces)].concat();
        let long = vec![IDENTITIES_ANSWER; LONGEST + 1];
        for (answer, held) in [
            (list(1, &[&blob, b"me@here"]), Ok(1)),
            (list(2, &[&blob, b"J\xf6rg", &blob, b"\xff\0"]), Ok(2)),
            (list(3, &[&odd, b"", b"", b"", &blob, b""]), Ok(1)),
            (list(0, &[]), Ok(0)),
            // It fails, or is locked.
            (vec![5], Ok(0)),
            (Vec::new(), Ok(0)),
            (list(2, &[&blob, b"me@here"]), Err("its list of keys ends early".to_owned())),
            (list(u32::MAX, &[&blob, b"me@here"]), Err("its list of keys ends early".to_owned())),
            (list(1, &[&blob]), Err("its list of keys ends early".to_owned())),
            (vec![IDENTITIES_ANSWER, 0], Err("its list of keys ends early".to_owned())),
            (long, Err(format!("its list of keys has more than {LONGEST} bytes"))),
        ] {
            let (mut ours, mut theirs) = tokio::io::duplex(2 * LONGEST);
            theirs.write_all(&framed(&[&answer])).await.unwrap();
            let found = super::list(&mut ours).await.map_err(|error| error.to_string());
            let is = |identity: &AgentIdentity| matches!(identity, AgentIdentity::PublicKey { key: found, .. } if *found == key);
            assert!(found.iter().flatten().all(is));
            assert_eq!(found.map(|found| found.len()), held);
            let mut asked = [0; 5];
            theirs.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, [0, 0, 0, 1, 11]);
        }
    }
}
