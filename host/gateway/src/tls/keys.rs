//! PEM files to a certificate that can be served. Errors name the file, and hold nothing of what is in it.

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
};

use super::{Certificate, CertificateError};

/// What was read from a file, and how to call it in messages.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a str,
    pub bytes: &'a [u8],
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("{file}: no certificate in it")]
    NoCertificate { file: String },
    #[error("{file}: no private key in it")]
    NoKey { file: String },
    #[error("{file}: the key is encrypted, and nobody is there to ask for its password")]
    Encrypted { file: String },
    #[error("{file}: a damaged PEM section")]
    Pem { file: String },
    #[error(
        "{file}: not a key that TLS can sign with: RSA of 2048 bits or more, ECDSA over P-256, P-384 or P-521, Ed25519"
    )]
    Unsupported { file: String },
    #[error("{chain} with {key}: {source}")]
    Pair { chain: String, key: String, source: CertificateError },
}

/// A chain and the key of its first certificate.
pub fn pair(chain: Source<'_>, key: Source<'_>) -> Result<Certificate, KeyError> {
    let damaged = |source: Source<'_>| KeyError::Pem { file: source.file.into() };
    let certificates = CertificateDer::pem_slice_iter(chain.bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| damaged(chain))?;
    if certificates.is_empty() {
        return Err(KeyError::NoCertificate { file: chain.file.into() });
    }
    if is_encrypted(key.bytes) {
        return Err(KeyError::Encrypted { file: key.file.into() });
    }
    let private = PrivateKeyDer::from_pem_slice(key.bytes).map_err(|error| match error {
        PemError::NoItemsFound => KeyError::NoKey { file: key.file.into() },
        _ => damaged(key),
    })?;
    let private =
        aws_lc_rs::sign::any_supported_type(&private).map_err(|_| KeyError::Unsupported { file: key.file.into() })?;
    Certificate::new(certificates, private).map_err(|source| KeyError::Pair {
        chain: chain.file.into(),
        key: key.file.into(),
        source,
    })
}

/// PKCS #8 says so in the label, OpenSSL's older form in a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests;
