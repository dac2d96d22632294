//! The certificate beside a private key, `KEY-cert.pub`, where `ssh-keygen -s` leaves it: shown as OpenSSH does, before the key
//! alone. What it says is the server's to judge.

use std::{ffi::OsString, path::PathBuf};

use russh::{
    AgentAuthError, Signer,
    keys::{
        self, Certificate, HashAlg, PrivateKey, agent::AgentIdentity, signature::Signer as _,
        ssh_encoding::Encode as _, ssh_key::private::KeypairData,
    },
};

use crate::Secret;

/// Longer than any certificate.
const MOST: u64 = 64 * 1024;

/// Where the certificate of the key at `at` would be.
pub(super) fn of(at: &Secret) -> Option<Secret> {
    let Secret::File(path) = at else { return None };
    let mut beside = OsString::from(path);
    beside.push("-cert.pub");
    Some(Secret::File(PathBuf::from(beside)))
}

/// The certificate beside `key`, which is stored at `at`: nothing where there is none, or another key's. Blocks.
pub(super) fn beside(at: &Secret, key: &PrivateKey) -> Option<Certificate> {
    let text = String::from_utf8(of(at)?.read(MOST).ok()?).ok()?;
    let certificate = Certificate::from_openssh(text.trim()).ok()?;
    (certificate.public_key() == key.public_key().key_data()).then_some(certificate)
}

/// What signs for a certificate: russh's own way to show one signs with SHA-1 where the key is RSA's.
pub(super) struct Signing<'a>(pub(super) &'a PrivateKey);

impl Signer for Signing<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => self.0.try_sign(&data),
        };
        let failed = |error| AgentAuthError::Key(keys::Error::SshKey(error));
        let mut signed = Vec::new();
        signature
            .map_err(|_| failed(keys::ssh_key::Error::Crypto))?
            .encode(&mut signed)
            .map_err(|error| failed(error.into()))?;
        signed.encode(&mut data).map_err(|error| failed(error.into()))?;
        Ok(data)
    }
}
