//! Where a secret is: in a file, or in a variable of the environment. It is read when it is needed; what is kept and shown is
//! only where it is.

use std::{
    env, fmt, fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::PathBuf,
};

/// A secret's file that others may do something with.
#[derive(Debug, thiserror::Error)]
#[error("{file} can be read by others (mode {mode:04o}); run chmod 600 {file}")]
pub struct Open {
    file: String,
    mode: u32,
}

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
            Self::File(path) => {
                let metadata = fs::metadata(path)?;
                if !metadata.is_file() {
                    // Whoever opened a pipe would wait for a writer.
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
                }
                if metadata.len() > most { Err(long()) } else { fs::read(path) }
            }
            Self::Variable(name) => {
                let value =
                    env::var_os(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not set"))?;
                let value = value.into_vec();
                if value.len() as u64 > most { Err(long()) } else { Ok(value) }
            }
        }
    }

    /// What to say of its file, where others may do anything with it at all. Whether that is a mistake depends on the secret.
    pub fn open_to_others(&self) -> io::Result<Option<Open>> {
        let Self::File(path) = self else { return Ok(None) };
        let mode = fs::metadata(path)?.mode() & 0o777;
        Ok(Some(mode).filter(|mode| mode & 0o077 != 0).map(|mode| Open { file: self.to_string(), mode }))
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_or_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "x").unwrap();
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o444, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let told = Secret::File(path.clone()).open_to_others().unwrap().map(|open| open.to_string());
            let file = path.display();
            let words = format!("{file} can be read by others (mode {mode:04o}); run chmod 600 {file}");
            assert_eq!(told, open.then_some(words));
        }
        assert!(Secret::Variable("PATH".into()).open_to_others().unwrap().is_none());
        fs::remove_file(&path).unwrap();
        assert_eq!(Secret::File(path).open_to_others().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

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
