//! `host keygen`: a key for SSH remotes.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use atoll_net::{
    Secret,
    ssh::{Kind, NewKey},
};
use clap::{Args, ValueEnum, error::ErrorKind};

use super::usage;

/// Of an RSA key, where nothing is said: as strong as the other type.
const BITS: usize = 3072;

/// The most that is read of a seed, in bytes.
const MAX_SEED: u64 = 64 * 1024;

/// Make a key to fetch over SSH with, and print its line for authorized_keys
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Keygen {
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "ed25519")]
    kind: Type,

    /// Of an RSA key [default: 3072]
    #[arg(long, value_name = "N")]
    bits: Option<usize>,

    /// Make the key from what a file holds that nobody else can read (`-`: standard input): the same seed makes the same
    /// key, on any machine
    #[arg(long, value_name = "SEED")]
    seed_file: Option<PathBuf>,

    /// Where the private key goes, readable by nobody else; a file that is there is left as it is [default: deploy.TYPE]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// At the end of the line for authorized_keys
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

const EXAMPLES: &str = "\
Examples:
  host keygen --output deploy.ed25519
  host keygen --type rsa --bits 4096
  (umask 077; openssl rand -hex 32 >seed) && host keygen --seed-file seed
  host keygen --type rsa --seed-file seed";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    Ed25519,
    Rsa,
}

impl Keygen {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let kind = match (self.kind, self.bits) {
            (Type::Ed25519, None) => Kind::Ed25519,
            (Type::Ed25519, Some(_)) => {
                let message = "--bits is for RSA keys: an ed25519 key has 256; or add --type rsa";
                return Err(usage("keygen", ErrorKind::ArgumentConflict, message));
            }
            (Type::Rsa, bits) => Kind::Rsa(bits.unwrap_or(BITS)),
        };
        if self.comment.contains(char::is_control) {
            let message = "--comment is the end of one line: it has a control character";
            return Err(usage("keygen", ErrorKind::ValueValidation, message));
        }
        let fits = if self.seed_file.is_some() { kind.check_for_seed() } else { kind.check() };
        fits.map_err(|error| usage("keygen", ErrorKind::ValueValidation, error))?;
        let key = match &self.seed_file {
            Some(file) => NewKey::from_seed(kind, &seed(file)?, &self.comment)?,
            None => NewKey::random(kind, &self.comment)?,
        };
        if self.output.as_deref() == Some(Path::new("-")) {
            let message = "--output is a file: a private key is never printed";
            return Err(usage("keygen", ErrorKind::ValueValidation, message));
        }
        let file = self.output.unwrap_or_else(|| match self.kind {
            Type::Ed25519 => "deploy.ed25519".into(),
            Type::Rsa => "deploy.rsa".into(),
        });
        let created = File::options().write(true).create_new(true).mode(0o600).open(&file);
        if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            anyhow::bail!("{} is there, and a key is never written over; name another by --output", file.display());
        }
        let written = created.and_then(|mut file| {
            file.write_all(key.private.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("cannot write {}", file.display()))?;
        writeln!(output, "{}\n{}", key.line, key.fingerprint)?;
        Ok(())
    }
}

/// A seed is the key: whoever reads it has that.
fn seed(file: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("cannot read {}", file.display());
    let mut seed = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().take(MAX_SEED + 1).read_to_end(&mut seed)
    } else {
        if let Some(open) = Secret::File(file.to_owned()).open_to_others().with_context(unreadable)? {
            return Err(open.into());
        }
        File::open(file).and_then(|file| file.take(MAX_SEED + 1).read_to_end(&mut seed))
    };
    read.with_context(unreadable)?;
    anyhow::ensure!(seed.len() as u64 <= MAX_SEED, "{} has more than {MAX_SEED} bytes", file.display());
    Ok(seed)
}
