//! Which certificate for which name: exact names, then wildcards of one label, then nobody's. The set is swapped whole;
//! a handshake sees the old or the new one, and connections keep what they were made with.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;

use super::Certificate;

/// The certificates that are served now.
#[derive(Debug, Default)]
pub struct Resolver(ArcSwap<Set>);

#[derive(Debug, Default)]
struct Set {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    /// By what follows the `*.`.
    wildcards: HashMap<Box<str>, Arc<Certificate>>,
    addresses: HashMap<IpAddr, Arc<Certificate>>,
}

impl Resolver {
    /// From now on these are served. Of two that name the same, the earlier one is.
    pub fn replace(&self, certificates: &[Arc<Certificate>]) {
        let mut set = Set::default();
        for certificate in certificates {
            for name in certificate.names() {
                let (names, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut set.wildcards, suffix),
                    None => (&mut set.exact, name),
                };
                names.entry(key.into()).or_insert_with(|| certificate.clone());
            }
            for address in certificate.addresses() {
                set.addresses.entry(*address).or_insert_with(|| certificate.clone());
            }
        }
        self.0.store(Arc::new(set));
    }

    /// For a server name in lower case.
    pub fn by_name(&self, name: &str) -> Option<Arc<Certificate>> {
        let set = self.0.load();
        let exact = set.exact.get(name).filter(|certificate| certificate.covers(name));
        let wildcard = || {
            let (_, suffix) = name.split_once('.')?;
            set.wildcards.get(suffix).filter(|certificate| certificate.covers(name))
        };
        exact.or_else(wildcard).cloned()
    }

    /// For a client that named nobody, and connected to `address`.
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Certificate>> {
        self.0.load().addresses.get(&address).cloned()
    }
}

#[cfg(test)]
mod tests;
