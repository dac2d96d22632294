//! Whom we trust when we dial: the system's roots, read once and when first needed, or those of a file; and what we
//! offer. It never turns a check off.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// HTTP by whatever the server prefers of HTTP/2 and HTTP/1.1.
pub const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// HTTP/1.1 alone.
pub const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// The roots that this system trusts. Cheap to clone, read once: make one and hand it around.
#[derive(Debug, Clone, Default)]
pub struct SystemRoots(Arc<OnceLock<Arc<RootCertStore>>>);

impl SystemRoots {
    /// Reads files the first time, some milliseconds. What can't be read or parsed is left out, so the set may be empty.
    pub fn load(&self) -> Arc<RootCertStore> {
        let read = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        self.0.get_or_init(read).clone()
    }
}

/// Why a file of roots can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("{file}: no certificate in it")]
    Empty { file: String },
    #[error("{file}: certificate {number} can't be read")]
    Malformed { file: String, number: usize },
}

/// Settings of the client's side of TLS. Cheap to clone; two are equal when one is a clone of the other, so share one
/// among all targets that are trusted alike: sessions to resume are kept in it.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    trust: Trust,
    name: Option<ServerName<'static>>,
    protocols: Vec<Vec<u8>>,
    config: OnceLock<Arc<ClientConfig>>,
}

enum Trust {
    System(SystemRoots),
    File(Arc<RootCertStore>),
}

impl Tls {
    /// Trusts what the system trusts. `protocols` are offered by ALPN, most wanted first; none: no ALPN.
    pub fn system(roots: &SystemRoots, protocols: &[&[u8]]) -> Self {
        Self::new(Trust::System(roots.clone()), protocols)
    }

    /// Trusts the authorities in `pem` and nobody else. `file` is named in errors.
    pub fn with_roots(file: &str, pem: &[u8], protocols: &[&[u8]]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
            let malformed = || RootsError::Malformed { file: file.into(), number };
            roots.add(certificate.map_err(|_| malformed())?).map_err(|_| malformed())?;
        }
        if roots.is_empty() {
            return Err(RootsError::Empty { file: file.into() });
        }
        Ok(Self::new(Trust::File(Arc::new(roots)), protocols))
    }

    /// Offers these protocols in place of its own.
    #[must_use]
    pub fn offering(&self, protocols: &[&[u8]]) -> Self {
        let trust = match &self.0.trust {
            Trust::System(roots) => Trust::System(roots.clone()),
            Trust::File(roots) => Trust::File(roots.clone()),
        };
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Tls(Arc::new(Inner { trust, name: self.0.name.clone(), protocols, config: OnceLock::new() }))
    }

    /// Expects the certificate of `name` in place of the target's own host.
    #[must_use]
    pub fn named(self, name: ServerName<'static>) -> Self {
        let trust = match &self.0.trust {
            Trust::System(roots) => Trust::System(roots.clone()),
            Trust::File(roots) => Trust::File(roots.clone()),
        };
        Tls(Arc::new(Inner { trust, name: Some(name), protocols: self.0.protocols.clone(), config: OnceLock::new() }))
    }

    fn new(trust: Trust, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Tls(Arc::new(Inner { trust, name: None, protocols, config: OnceLock::new() }))
    }

    pub(crate) fn name(&self) -> Option<&ServerName<'static>> {
        self.0.name.as_ref()
    }

    /// Made when first asked for. The system's roots are read off the runtime's threads.
    pub(crate) async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.0.config.get() {
            return Ok(config.clone());
        }
        let roots = match &self.0.trust {
            Trust::File(roots) => roots.clone(),
            Trust::System(roots) => {
                let roots = roots.clone();
                tokio::task::spawn_blocking(move || roots.load()).await?
            }
        };
        let make = || {
            let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has suites for both versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols.clone_from(&self.0.protocols);
            Arc::new(config)
        };
        Ok(self.0.config.get_or_init(make).clone())
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).addr().hash(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.0.name).finish_non_exhaustive()
    }
}
