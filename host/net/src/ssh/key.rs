//! A private key: stored somewhere, or made from a seed. Its file must not be readable by others.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Digest, SHA256, digest};
use russh::keys::{Certificate, PrivateKey, decode_secret_key};

use super::{
    agent::{self, AgentError},
    certificate,
    make::{self, Kind, MakeError},
};
use crate::{Secret, secret::Open};

/// Longer than any key, passphrase or seed.
const MOST: u64 = 64 * 1024;

/// Where a private key comes from. It is read for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// In OpenSSH's form, perhaps with a certificate beside it; the first line of another secret is its passphrase.
    Stored { at: Secret, passphrase: Option<Secret> },
    /// What the agent at this socket holds: it is never read.
    Agent(PathBuf),
    /// Made of a seed as [`super::NewKey::from_seed`] does.
    Seed { at: Secret, kind: Kind },
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{file} cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error(transparent)]
    Open(#[from] Open),
    #[error("{file} is the public key: name the private one{}", private.as_ref().map(|at| format!(", {at}")).unwrap_or_default())]
    Public { file: String, private: Option<String> },
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("{0} holds no private key in OpenSSH's form")]
    Form(String),
    #[error("the key in {0} has a passphrase: put it in a file and name it, passphrase = \"FILE\"")]
    Encrypted(String),
    #[error("the passphrase in {passphrase} does not open the key in {file}")]
    Passphrase { file: String, passphrase: String },
    #[error("the seed in {file} is refused")]
    Seed { file: String, source: MakeError },
}

impl Key {
    /// What is named in messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Stored { at, .. } | Self::Seed { at, .. } => at.to_string(),
            Self::Agent(socket) => socket.display().to_string(),
        }
    }

    /// Whether it can be used, as far as that shows here: an agent is there, and is asked nothing. Blocks, as reading does.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), KeyError> {
        match self {
            Self::Agent(socket) => Ok(agent::look(socket)?),
            Self::Stored { .. } | Self::Seed { .. } => self.read(&Made::default()).map(drop),
        }
    }

    /// What it is made of, and whether others can read that, for comparison. Blocks.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        let secret = |at: &Secret| at.read(MOST).unwrap_or_default();
        let open = |at: &Secret| vec![u8::from(matches!(at.open_to_others(), Ok(None)))];
        match self {
            Self::Agent(_) => Vec::new(),
            Self::Stored { at, passphrase } => {
                let passphrase = passphrase.as_ref().map(secret).unwrap_or_default();
                let certificate = certificate::of(at).as_ref().map(secret).unwrap_or_default();
                vec![secret(at), open(at), passphrase, certificate]
            }
            Self::Seed { at, .. } => vec![secret(at), open(at)],
        }
    }

    /// With the certificate that lies beside it, if one does. Blocks, as [`Self::read`] does.
    pub(super) fn read_certified(&self, made: &Made) -> Result<(PrivateKey, Option<Certificate>), KeyError> {
        let key = self.read(made)?;
        let certificate = if let Self::Stored { at, .. } = self { certificate::beside(at, &key) } else { None };
        Ok((key, certificate))
    }

    /// Blocks: a passphrase is made slow to try, and an RSA key takes seconds to make.
    pub(super) fn read(&self, made: &Made) -> Result<PrivateKey, KeyError> {
        let file = || self.place();
        let (bytes, passphrase) = match self {
            Self::Agent(_) => return Err(KeyError::Form(file())),
            Self::Stored { at, passphrase } => {
                let bytes = read(at)?;
                // Which anybody may read: its mode is not what is wrong.
                if is_public(&bytes) {
                    return Err(KeyError::Public { file: file(), private: private(&file()) });
                }
                closed(at)?;
                (bytes, passphrase)
            }
            Self::Seed { at, kind } => {
                closed(at)?;
                let key = made.of(*kind, &read(at)?);
                return key.map_err(|source| KeyError::Seed { file: file(), source });
            }
        };
        let text = str::from_utf8(&bytes).map_err(|_| KeyError::Form(file()))?;
        match decode_secret_key(text, None) {
            Ok(key) if !key.is_encrypted() => return Ok(key),
            Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(_) => return Err(KeyError::Form(file())),
        }
        let passphrase = passphrase.as_ref().ok_or_else(|| KeyError::Encrypted(file()))?;
        let words = read(passphrase)?;
        let words = String::from_utf8_lossy(&words);
        let opened = decode_secret_key(text, Some(words.lines().next().unwrap_or_default()));
        opened.map_err(|_| KeyError::Passphrase { file: file(), passphrase: passphrase.to_string() })
    }
}

/// The key that was made last, so that a connection need not wait for it once more.
#[derive(Default)]
pub(super) struct Made(Mutex<Option<(Digest, PrivateKey)>>);

impl Made {
    fn of(&self, kind: Kind, seed: &[u8]) -> Result<PrivateKey, MakeError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(&SHA256, seed);
        match &*made {
            Some((of, key)) if of.as_ref() == digest.as_ref() => Ok(key.clone()),
            _ => {
                let key = make::seeded(kind, seed, "")?;
                *made = Some((digest, key.clone()));
                Ok(key)
            }
        }
    }
}

/// # Errors
/// Where others may read it.
fn closed(at: &Secret) -> Result<(), KeyError> {
    let open = at.open_to_others().map_err(|source| KeyError::Unreadable { file: at.to_string(), source })?;
    open.map_or(Ok(()), |open| Err(open.into()))
}

fn read(at: &Secret) -> Result<Vec<u8>, KeyError> {
    at.read(MOST).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => KeyError::Form(at.to_string()),
        _ => KeyError::Unreadable { file: at.to_string(), source },
    })
}

/// A line for `authorized_keys`, of a key or a certificate, or one of the other forms that `ssh-keygen -e` writes.
fn is_public(bytes: &[u8]) -> bool {
    let begins = [&b"ssh-"[..], b"ecdsa-sha2-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY"];
    begins.iter().any(|begin| bytes.trim_ascii_start().starts_with(begin))
}

/// Where the key lies that belongs to a public one, as `ssh-keygen` names them.
fn private(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".pub")?;
    Some(stem.strip_suffix("-cert").unwrap_or(stem).to_owned())
}
