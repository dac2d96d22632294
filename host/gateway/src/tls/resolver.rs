//! Which certificate for which name: exact names, then wildcards of one label, then the same of those that are out of their
//! time, then nobody's. All is swapped whole; a handshake sees the old or the new, and connections keep what they were made
//! with.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;

use super::Certificate;

/// The certificates that are served now: those that were good when they were given, and the others.
#[derive(Debug, Default)]
pub struct Resolver(ArcSwap<[Set; 2]>);

#[derive(Debug, Default)]
struct Set {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    /// By what follows the `*.`.
    wildcards: HashMap<Box<str>, Arc<Certificate>>,
    addresses: HashMap<IpAddr, Arc<Certificate>>,
}

impl Resolver {
    /// From now on these are served. Of two that name the same, the one that is good `now` is, then the earlier one.
    pub fn replace(&self, certificates: &[Arc<Certificate>], now: SystemTime) {
        let (good, bad) = certificates.iter().partition::<Vec<_>, _>(|certificate| certificate.is_valid_at(now));
        self.0.store(Arc::new([Set::of(&good), Set::of(&bad)]));
    }

    /// For a server name in lower case.
    pub fn by_name(&self, name: &str) -> Option<Arc<Certificate>> {
        self.0.load().iter().find_map(|set| set.by_name(name))
    }

    /// For a client that named nobody, and connected to `address`.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Certificate>> {
        self.0.load().iter().find_map(|set| set.addresses.get(&address).cloned())
    }
}

impl Set {
    fn of(certificates: &[&Arc<Certificate>]) -> Self {
        let mut set = Self::default();
        for certificate in certificates {
            for name in certificate.names() {
                let (names, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut set.wildcards, suffix),
                    None => (&mut set.exact, name),
                };
                names.entry(key.into()).or_insert_with(|| Arc::clone(certificate));
            }
            for address in certificate.addresses() {
                set.addresses.entry(*address).or_insert_with(|| Arc::clone(certificate));
            }
        }
        set
    }

    fn by_name(&self, name: &str) -> Option<Arc<Certificate>> {
        let exact = self.exact.get(name).filter(|certificate| certificate.covers(name));
        let wildcard = || {
            let (_, suffix) = name.split_once('.')?;
            self.wildcards.get(suffix).filter(|certificate| certificate.covers(name))
        };
        exact.or_else(wildcard).cloned()
    }
}

#[cfg(test)]
mod tests;
