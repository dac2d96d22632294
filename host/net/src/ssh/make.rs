//! New keys: from the system's randomness, or from a seed, the same on any machine and in any version.

use aws_lc_rs::hkdf;
use russh::keys::{
    HashAlg, PrivateKey,
    ssh_key::{
        LineEnding,
        private::{Ed25519Keypair, KeypairData, RsaKeypair},
    },
};

use super::rsa;

/// Bits of what nobody can guess that a seed needs.
const ENOUGH: u32 = 128;

/// The lengths of an RSA key that are made, in bits.
const RSA: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ed25519,
    /// Of so many bits.
    Rsa(usize),
}

impl Kind {
    /// # Errors
    /// Where no such key is made.
    pub fn check(self) -> Result<(), MakeError> {
        match self {
            Self::Rsa(bits) if !RSA.contains(&bits) => Err(MakeError::Bits(bits)),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// Where a seed makes no such key.
    pub fn check_for_seed(self) -> Result<(), MakeError> {
        match self {
            Self::Rsa(bits) if !RSA.contains(&bits) || !bits.is_multiple_of(128) => Err(MakeError::Multiple(bits)),
            _ => Ok(()),
        }
    }
}

/// A key that was made.
pub struct NewKey {
    /// The file, in OpenSSH's form. It has no passphrase.
    pub private: String,
    /// For `authorized_keys`.
    pub line: String,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// Why no key is made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MakeError {
    #[error("an RSA key has 2048 to 8192 bits here, and not {0}")]
    Bits(usize),
    #[error("an RSA key from a seed has 2048 to 8192 bits, a multiple of 128, and not {0}")]
    Multiple(usize),
    #[error(
        "the seed could be guessed: it has some {0} bits of what cannot, and {ENOUGH} are wanted; `openssl rand -hex 32` makes a good one"
    )]
    Weak(u32),
    #[error("no key could be made: {0}")]
    Failed(String),
}

impl NewKey {
    /// From the system's randomness. An RSA key takes seconds.
    pub fn random(kind: Kind, comment: &str) -> Result<Self, MakeError> {
        kind.check()?;
        let mut random = rand::rng();
        let pair = match kind {
            Kind::Ed25519 => KeypairData::from(Ed25519Keypair::random(&mut random)),
            Kind::Rsa(bits) => KeypairData::from(RsaKeypair::random(&mut random, bits).map_err(failed)?),
        };
        Self::shown(&PrivateKey::new(pair, comment).map_err(failed)?)
    }

    /// From a seed, by HKDF-SHA256 (RFC 5869) with the seed's bytes as they are for the input and `atoll host keygen` for the
    /// salt. Of an ed25519 key the 32 secret bytes are what the info `ed25519` gives; of an RSA key see [`super::rsa`].
    pub fn from_seed(kind: Kind, seed: &[u8], comment: &str) -> Result<Self, MakeError> {
        Self::shown(&seeded(kind, seed, comment)?)
    }

    fn shown(key: &PrivateKey) -> Result<Self, MakeError> {
        Ok(Self {
            private: key.to_openssh(LineEnding::LF).map_err(failed)?.to_string(),
            line: key.public_key().to_openssh().map_err(failed)?.trim_end().to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

/// The key that [`NewKey::from_seed`] shows.
pub(super) fn seeded(kind: Kind, seed: &[u8], comment: &str) -> Result<PrivateKey, MakeError> {
    kind.check_for_seed()?;
    let bits = unguessable(seed);
    if bits < ENOUGH {
        return Err(MakeError::Weak(bits));
    }
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, b"atoll host keygen").extract(seed);
    if let Kind::Rsa(bits) = kind {
        return PrivateKey::new(KeypairData::from(rsa::pair(&derived, bits)?), comment).map_err(failed);
    }
    let mut secret = [0; 32];
    let filled = derived.expand(&[b"ed25519"], hkdf::HKDF_SHA256).and_then(|expanded| expanded.fill(&mut secret));
    filled.map_err(|_| MakeError::Failed("nothing could be derived from the seed".into()))?;
    PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&secret)), comment).map_err(failed)
}

fn failed(error: russh::keys::ssh_key::Error) -> MakeError {
    MakeError::Failed(error.to_string())
}

/// Bits of a seed that cannot be guessed, by its letters alone: their entropy, times the runs of three that are not the
/// same, so that a pattern counts once however long it is.
fn unguessable(seed: &[u8]) -> u32 {
    let mut counts = [0_u32; 256];
    seed.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = u32::try_from(seed.len().min(4_096)).expect("at most 4,096");
    let total = f64::from(u32::try_from(seed.len()).unwrap_or(u32::MAX));
    let share = |count: &u32| f64::from(*count) / total;
    let entropy: f64 = counts.iter().filter(|count| **count > 0).map(share).map(|share| -share * share.log2()).sum();
    let mut runs: Vec<&[u8]> = seed.windows(3).collect();
    runs.sort_unstable();
    runs.dedup();
    let runs = u32::try_from(runs.len()).unwrap_or(u32::MAX).min(length);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most eight times 4,096, and positive"
    )]
    let bits = (entropy * f64::from(runs)) as u32;
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_key_for_ever() {
        let seed = b"8f4c1e0b5a6d7c3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e";
        let from = |kind, seed: &[u8]| NewKey::from_seed(kind, seed, "");
        let key = from(Kind::Ed25519, seed).unwrap();
        // Derived once more by openssl kdf and read by ssh-keygen.
        assert_eq!(key.line, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF+wV4DkZZPPWdX+XJJTcyNvH/5lbr/nz1do6e60dwN5");
        assert_eq!(key.fingerprint, "SHA256:WVX2sZnn5qCisZIGCGw28FukZ9igwILQXDlW9PZ5BsY");
        assert_ne!(from(Kind::Ed25519, &[seed, &b"\n"[..]].concat()).unwrap().line, key.line);
        // Derived once more in Python, of hmac, hashlib and pow alone.
        let key = from(Kind::Rsa(2_048), seed).unwrap();
        assert_eq!(key.fingerprint, "SHA256:7jPmv+MM5dqgxNHgkU0nA+84NV84WDiTurpyK9p40J8");
        let key = from(Kind::Rsa(3_072), seed).unwrap();
        assert_eq!(key.fingerprint, "SHA256:tFNRoIajoJoITYoKPjV0uy5B5HiL2Rs4OAIxIKAS3qE");
        for bits in [1_024, 2_056, 8_320] {
            assert_eq!(from(Kind::Rsa(bits), seed).err(), Some(MakeError::Multiple(bits)));
        }
    }

    #[test]
    fn seeds_that_could_be_guessed() {
        for (seed, bits) in [
            (&b""[..], 0),
            (b"password", 16),
            (b"correct horse battery staple", 90),
            (&b"abcd".repeat(1_000), 8),
            (&[7; 4_096], 0),
        ] {
            assert_eq!(NewKey::from_seed(Kind::Ed25519, seed, "").err(), Some(MakeError::Weak(bits)), "{seed:?}");
        }
    }
}
