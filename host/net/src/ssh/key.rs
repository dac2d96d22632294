//! A private key out of its file, which nobody else may read.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use russh::keys::{PrivateKey, decode_secret_key};

/// Longer than any key.
const MAX_KEY: u64 = 64 * 1024;

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key in {file} cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error("the key in {file} can be read by others (mode {mode:04o}); run chmod 600 {file}")]
    Open { file: String, mode: u32 },
    #[error("the key in {file} is no private key in OpenSSH's form")]
    Form { file: String },
    #[error(
        "the key in {file} has a passphrase, which nobody is here to type; run ssh-keygen -p -N '' -f {file} on a copy"
    )]
    Encrypted { file: String },
}

pub(super) fn read(path: &Path) -> Result<PrivateKey, KeyError> {
    let file = || path.display().to_string();
    let unreadable = |source| KeyError::Unreadable { file: file(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { file: file(), mode });
    }
    if metadata.len() > MAX_KEY {
        return Err(KeyError::Form { file: file() });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match decode_secret_key(&text, None) {
        Ok(key) if key.is_encrypted() => Err(KeyError::Encrypted { file: file() }),
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(KeyError::Encrypted { file: file() }),
        Err(_) => Err(KeyError::Form { file: file() }),
    }
}
