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
use crate::guess::{self, Guessable};

/// The shortest seed, in bytes.
const SEED: usize = 32;

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
    #[error("the seed could be guessed: {0}; `openssl rand -hex 32` makes a good one")]
    Weak(Guessable),
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
    guess::drawn(seed, SEED).map_err(MakeError::Weak)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_key_for_ever() {
        let seed = b"71da85e98b12732faf66939f5c9980511f8a194400170602243265079a265efa";
        let from = |kind, seed: &[u8]| NewKey::from_seed(kind, seed, "");
        let key = from(Kind::Ed25519, seed).unwrap();
        // Derived once more by openssl kdf and read by ssh-keygen.
        assert_eq!(key.line, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL3zVw22x+Xi800Ss/uh0PxL6jNKb4NjiuClFg8Q+DRv");
        assert_eq!(key.fingerprint, "SHA256:fLWHmn/JenspwRZHSQMvOMbsogblxkzCaan6lXpHCw0");
        assert_ne!(from(Kind::Ed25519, &[seed, &b"\n"[..]].concat()).unwrap().line, key.line);
        // Derived once more in Python, of hmac, hashlib and pow alone.
        let key = from(Kind::Rsa(2_048), seed).unwrap();
        assert_eq!(key.fingerprint, "SHA256:vyBheDCy4690iOSKay4mk7ReJvG1XyXRKSqBvC8lUq8");
        let key = from(Kind::Rsa(3_072), seed).unwrap();
        assert_eq!(key.fingerprint, "SHA256:TsEpZc8c5rlYbmUbNHueiV9dcHyTVBTBdKj/uKppAiw");
        for bits in [1_024, 2_056, 8_320] {
            assert_eq!(from(Kind::Rsa(bits), seed).err(), Some(MakeError::Multiple(bits)));
        }
    }

    #[test]
    fn seeds_that_could_be_guessed() {
        for (seed, why) in [
            (
                &b"password"[..],
                "it is short; 32 bytes are wanted, which are 64 characters in hexadecimal and 43 in Base64",
            ),
            (
                b"correct horse battery staple",
                "it is text, and not 32 bytes that were drawn, in hexadecimal, in Base64 or as they are",
            ),
            (&b"1234567890".repeat(7), "it has no digit but decimal ones"),
            (b"qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM", "it goes along a keyboard"),
            (&b"abcd".repeat(100), "it counts, or repeats itself"),
            (&b"shallicomparetheetoasummersdaythouartmorelovely"[..], "some of it is there too often"),
        ] {
            for kind in [Kind::Ed25519, Kind::Rsa(2_048)] {
                let refused = NewKey::from_seed(kind, seed, "").err().map(|error| error.to_string());
                let words = format!("the seed could be guessed: {why}; `openssl rand -hex 32` makes a good one");
                assert_eq!(refused, Some(words), "{seed:?}");
            }
        }
    }
}
