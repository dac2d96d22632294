//! A private key: out of its file, or made from a seed. What nobody else should know must not be readable by others.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use russh::keys::{PrivateKey, decode_secret_key};

use super::make::{self, MakeError};

/// Longer than any key, passphrase or seed.
const MAX_FILE: u64 = 64 * 1024;

/// Where a private key comes from. It is read for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A file in OpenSSH's form, and one whose first line is its passphrase.
    File { path: PathBuf, passphrase: Option<PathBuf> },
    /// An ed25519 key, made from what a file holds as [`super::NewKey::from_seed`] does.
    Seed(PathBuf),
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{file} cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error("{file} can be read by others (mode {mode:04o}); run chmod 600 {file}")]
    Open { file: String, mode: u32 },
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
    /// The file that is named in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Seed(path) => path,
        }
    }

    /// Blocks: a passphrase is made slow to try.
    pub(super) fn read(&self) -> Result<PrivateKey, KeyError> {
        let file = || self.path().display().to_string();
        let bytes = secret(self.path())?;
        let (Self::File { passphrase, .. }, Ok(text)) = (self, str::from_utf8(&bytes)) else {
            let Self::Seed(_) = self else { return Err(KeyError::Form(file())) };
            return make::seeded(&bytes, "").map_err(|source| KeyError::Seed { file: file(), source });
        };
        match decode_secret_key(text, None) {
            Ok(key) if !key.is_encrypted() => return Ok(key),
            Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(_) => return Err(KeyError::Form(file())),
        }
        let passphrase = passphrase.as_ref().ok_or_else(|| KeyError::Encrypted(file()))?;
        let words = secret(passphrase)?;
        let words = String::from_utf8_lossy(&words);
        let opened = decode_secret_key(text, Some(words.lines().next().unwrap_or_default()));
        opened.map_err(|_| KeyError::Passphrase { file: file(), passphrase: passphrase.display().to_string() })
    }
}

/// What a file holds that others cannot read.
fn secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    let file = || path.display().to_string();
    let unreadable = |source| KeyError::Unreadable { file: file(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { file: file(), mode });
    }
    if metadata.len() > MAX_FILE {
        return Err(KeyError::Form(file()));
    }
    fs::read(path).map_err(unreadable)
}
