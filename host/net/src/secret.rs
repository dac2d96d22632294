//! Where a secret is: in a file, or in a variable of the environment. It is read when it is needed; what is kept and shown is
//! only where it is.

use std::{
    env, fmt, fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::PathBuf,
};

/// The place of a secret, not the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    /// By its name, in the environment of this process.
    Variable(String),
}

impl Secret {
    /// All of it, if that is at most `most` bytes. Blocks.
    pub fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        let long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"));
        match self {
            Self::File(path) if fs::metadata(path)?.len() > most => Err(long()),
            Self::File(path) => fs::read(path),
            Self::Variable(name) => {
                let value =
                    env::var_os(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not set"))?;
                let value = value.into_vec();
                if value.len() as u64 > most { Err(long()) } else { Ok(value) }
            }
        }
    }

    /// The permissions of its file, where others may do anything with it at all.
    pub(crate) fn open_to_others(&self) -> io::Result<Option<u32>> {
        let Self::File(path) = self else { return Ok(None) };
        let mode = fs::metadata(path)?.mode() & 0o777;
        Ok(Some(mode).filter(|mode| mode & 0o077 != 0))
    }
}

/// Where it is, as in `the token in ...`.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "the variable {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_within_a_bound_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "12345").unwrap();
        // A variable that every process has.
        let value = env::var("PATH").unwrap();
        for (secret, value) in [(Secret::File(path.clone()), "12345"), (Secret::Variable("PATH".into()), &value)] {
            let length = value.len() as u64;
            assert_eq!(secret.read(length).unwrap(), value.as_bytes());
            let long = secret.read(length - 1).unwrap_err().to_string();
            assert_eq!(long, format!("it has more than {} bytes", length - 1));
            assert!(!format!("{secret} {secret:?}").contains(value));
        }
        let missing = Secret::Variable("ATOLL_NO_SUCH_VARIABLE".into());
        assert_eq!(missing.read(9).unwrap_err().to_string(), "it is not set");
        assert_eq!(missing.to_string(), "the variable ATOLL_NO_SUCH_VARIABLE");
        assert_eq!(Secret::File(path.clone()).to_string(), path.display().to_string());
    }
}
