//! One chain with its key: whom it names, until when, and whether strangers trust it. The names are the leaf's
//! subjectAltName; what they cover is webpki's to decide, as it is for clients.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{extensions::GeneralName, prelude::FromDer, time::ASN1Time};

/// Why a chain and a key make no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate in the chain")]
    Empty,
    #[error("certificate {number} of the chain can't be read")]
    Malformed { number: usize },
    #[error("the certificate names nobody: it has no subjectAltName that a client could ask for")]
    Nameless,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("the key belongs to certificate {number} of the chain, and must belong to the first")]
    Order { number: usize },
}

/// A certificate that can be served.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Box<[Box<str>]>,
    addresses: Box<[IpAddr]>,
    begins: SystemTime,
    ends: SystemTime,
    trusted: AtomicBool,
}

impl Certificate {
    /// The leaf first, then what leads to a root.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        for (number, certificate) in (1..).zip(&chain) {
            EndEntityCert::try_from(certificate).map_err(|_| CertificateError::Malformed { number })?;
        }
        let malformed = CertificateError::Malformed { number: 1 };
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| malformed.clone())?;
        let names: Box<[Box<str>]> = parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        let (_, details) = x509_parser::certificate::X509Certificate::from_der(leaf).map_err(|_| malformed.clone())?;
        let addresses = addresses(&details).ok_or(malformed)?;
        if names.is_empty() && addresses.is_empty() {
            return Err(CertificateError::Nameless);
        }
        let (begins, ends) = (instant(details.validity().not_before), instant(details.validity().not_after));
        belongs(&chain, &key)?;
        let key = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self { key, names, addresses, begins, ends, trusted: AtomicBool::new(false) })
    }

    /// Whether it is the very same, with what leads to its root.
    pub fn is(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// The DNS names, lower case, wildcards as they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    pub fn begins(&self) -> SystemTime {
        self.begins
    }

    /// Nobody trusts it from then on.
    pub fn ends(&self) -> SystemTime {
        self.ends
    }

    /// Whether this is the time that it is for.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.begins..=self.ends).contains(&now)
    }

    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Whether a client that asked for `host` accepts this certificate: a name in lower case and A-labels, or an address,
    /// IPv6 with or without brackets; no port.
    pub fn covers(&self, host: &str) -> bool {
        if self.names.iter().any(|name| **name == *host) {
            // The library's answer for equal names; a host never begins with `*`.
            return !host.starts_with('*');
        }
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        let Ok(leaf) = EndEntityCert::try_from(&self.key.cert[0]) else {
            return false;
        };
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    }

    /// Whether the chain was found to lead to a root that the system trusts. False until it was looked at.
    pub fn is_publicly_trusted(&self) -> bool {
        self.trusted.load(Relaxed)
    }

    /// Looks at the chain. A signature or two: not to be done for each request.
    pub fn check_trust(&self, roots: &RootCertStore, now: SystemTime) -> bool {
        let trusted = leads_to(&self.key.cert, roots, now);
        self.trusted.store(trusted, Relaxed);
        trusted
    }
}

/// Whether `chain` is one for servers, valid at `now`, and leads to one of `roots`.
fn leads_to(chain: &[CertificateDer<'_>], roots: &RootCertStore, now: SystemTime) -> bool {
    let [leaf, between @ ..] = chain else {
        return false;
    };
    let (Ok(leaf), Ok(now)) = (EndEntityCert::try_from(leaf), now.duration_since(SystemTime::UNIX_EPOCH)) else {
        return false;
    };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let now = UnixTime::since_unix_epoch(now);
    leaf.verify_for_usage(algorithms, &roots.roots, between, now, KeyUsage::server_auth(), None, None).is_ok()
}

/// Where they do not belong together, says so in the way that helps most.
fn belongs(chain: &[CertificateDer<'static>], key: &Arc<dyn SigningKey>) -> Result<(), CertificateError> {
    let matches = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match().is_ok()
    };
    match chain.iter().position(matches) {
        Some(0) => Ok(()),
        Some(position) => Err(CertificateError::Order { number: position + 1 }),
        None => Err(CertificateError::Mismatch),
    }
}

/// `None` where the extension can't be read.
fn addresses(details: &x509_parser::certificate::X509Certificate<'_>) -> Option<Box<[IpAddr]>> {
    let Some(extension) = details.subject_alternative_name().ok()? else {
        return Some(Box::default());
    };
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    };
    Some(extension.value.general_names.iter().filter_map(address).collect())
}

fn instant(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// Whoever was chosen by name is shown, whatever the client's hello says.
impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }
}

/// Without the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
