//! The addresses that a manifest wants: had or not, and what to do about one that is not.

use std::net::SocketAddr;

use atoll_net::{Inherited, Listener};

use crate::{
    manifest::{self, Address, Manifest},
    problem::Problems,
    text::chain,
};

/// Each, and whether it speaks TLS.
pub(super) fn wanted(manifest: &Manifest) -> impl Iterator<Item = (Address, bool)> {
    let plain = manifest.listen.http.iter().map(|address| (*address, false));
    plain.chain(manifest.listen.https.iter().map(|address| (*address, true)))
}

/// That each address can be had, for a start that would fail by it after all its work; none is kept.
pub(super) fn try_all(manifest: &Manifest, inherited: &Inherited) -> anyhow::Result<()> {
    let ours = |address: &Address| address.at.port() != 0 && !inherited.left().any(|left| left == address.at);
    for (address, secure) in wanted(manifest).filter(|(address, _)| ours(address)) {
        bind(manifest, address, secure, &mut Inherited::default(), &[])?;
    }
    Ok(())
}

/// Listens on one, in vain where it is optional and not there; `ours` are those that this host has already.
pub(super) fn bind(
    manifest: &Manifest,
    address: Address,
    secure: bool,
    inherited: &mut Inherited,
    ours: &[SocketAddr],
) -> anyhow::Result<Vec<Listener>> {
    match atoll_net::bind(&[address.at], inherited) {
        Ok(bound) => Ok(bound),
        Err(_) if address.optional => Ok(Vec::new()),
        Err(error) => {
            let place = &manifest.listen.place;
            let taken = error.source.kind() == std::io::ErrorKind::AddrInUse;
            let own = ours.iter().find(|own| taken && manifest::overlap(**own, address.at));
            let words = match own {
                Some(own) => format!("; this host itself has {own}: reload once without it, or restart the host"),
                None => advice(&error.source, secure, place.file.is_some()).to_owned(),
            };
            Err(Problems(vec![place.problem(chain(&error) + &words)]).into())
        }
    }
}

/// What to do about an address that can't be had, where a line of the manifest does not show it.
fn advice(error: &std::io::Error, secure: bool, said: bool) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse if !said && secure => "; for another address: --https ADDR",
        std::io::ErrorKind::AddrInUse if !said => "; for another address: --http ADDR",
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 take CAP_NET_BIND_SERVICE, or a socket that systemd hands over"
        }
        _ => "",
    }
}
