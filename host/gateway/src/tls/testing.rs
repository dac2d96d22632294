//! What the tests of this room stand on: an authority made on the spot, and certificates that it signs; and whether a
//! program is here that they drive.

#[path = "../../../../tests/support/skip.rs"]
mod skip;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::Certificate;

pub(super) use skip::missing;

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(AsRef::<rcgen::Certificate>::as_ref(&self.0).der().clone()).unwrap();
        roots
    }

    /// Valid in the years `from..until`.
    pub(super) fn sign(&self, names: &[&str], from: i32, until: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    pub(super) fn issue(&self, names: &[&str]) -> Arc<Certificate> {
        let (certificate, key) = self.sign(names, 2020, 2100);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(Certificate::new(vec![certificate.into()], key).unwrap())
    }
}
