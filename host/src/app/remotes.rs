//! Where a binding's branch comes from: the manifest's words, turned into a way to a repository. Nothing is opened yet.

use anyhow::Context as _;
use atoll_git::{Daemon, Http, LocalError, Location, Patience, PushError, Remote, Ssh};
use atoll_net::{
    Client, Egress, HTTP, Host, Origin, Protocol, Proxies, SystemRoots, Tls,
    ssh::{Key, Trust},
};

use super::files;
use crate::manifest::{self, Binding};

/// Who we are where an address over SSH does not say: what forges have.
const USER: &str = "git";

/// What the environment says of them.
pub(super) fn proxies() -> Proxies {
    Proxies::of(|name| std::env::var(name).ok())
}

/// Whether the proxy of a remote that is behind one can be used.
pub(super) fn proxied(remote: &manifest::Remote) -> anyhow::Result<()> {
    let manifest::Remote::Http { origin, .. } = remote else { return Ok(()) };
    let tls = Tls::system(&SystemRoots::default(), HTTP);
    proxies().route(&Origin::new(&origin.to_string().parse()?, Protocol::Http1, &tls, Egress::Any)?)?;
    Ok(())
}

/// Why nothing could ever be pushed to it, though it can be fetched, as far as that shows before anybody does.
pub(super) fn look_at_pushing(said: &Binding) -> Option<PushError> {
    let manifest::Remote::Local(path) = &said.remote else { return None };
    let branch = said.branch.clone();
    let remote = Remote { location: Location::Local(path.clone()), branch, depth: said.depth };
    let error = if said.ours { None } else { remote.look_at_pushing().err() }?;
    // Of others the fetch tells.
    let lasts =
        matches!(error, PushError::Directory(_) | PushError::Refused(_) | PushError::Local(LocalError::Headless(_)));
    lasts.then_some(error)
}

/// Why nothing could be fetched of it, as far as that shows before anybody is asked.
pub(super) fn look(said: &Binding) -> Vec<anyhow::Error> {
    let looked = match &said.remote {
        // What people push to is made at the start.
        manifest::Remote::Local(_) if said.ours => Vec::new(),
        manifest::Remote::Local(path) => {
            let remote =
                Remote { location: Location::Local(path.clone()), branch: said.branch.clone(), depth: said.depth };
            vec![remote.look().map_err(Into::into)]
        }
        manifest::Remote::Git { .. } => Vec::new(),
        manifest::Remote::Http { token, .. } => {
            vec![token.as_ref().map_or(Ok(()), atoll_git::check_token).map_err(Into::into)]
        }
        manifest::Remote::Ssh { host, port, key, host_key, .. } => vec![
            key.as_ref().map_or(Ok(()), Key::check).map_err(Into::into),
            trust(host_key.as_ref()).check(&host.to_string(), *port).map_err(anyhow::Error::msg),
        ],
    };
    looked.into_iter().filter_map(Result::err).collect()
}

fn trust(host_key: Option<&manifest::HostKey>) -> Trust {
    match host_key {
        Some(manifest::HostKey::KnownHosts(file)) => Trust::KnownHosts(file.clone()),
        Some(manifest::HostKey::Pin(pin)) => Trust::Pin(pin.clone()),
        None => Trust::Nobody,
    }
}

/// Called within a tokio runtime. Reads the binding's roots of trust. `proxies` are for remotes alone.
///
/// # Errors
/// A file that cannot be used, in words.
pub(super) fn location(said: &Binding, client: &Client, tls: &Tls, proxies: &Proxies) -> anyhow::Result<Location> {
    Ok(match &said.remote {
        manifest::Remote::Local(path) => Location::Local(path.clone()),
        manifest::Remote::Git { host, port, path } => {
            Location::Server(Daemon::server(client.dialler(), dialled(host)?, *port, path, Patience::default()))
        }
        manifest::Remote::Http { origin, path, ca, token } => {
            let tls = match ca {
                None => tls.clone(),
                Some(file) => files::roots(file)?,
            };
            let origin = Origin::new(&origin.to_string().parse()?, Protocol::Http1, &tls, Egress::Any)?;
            Location::Server(Http::server(client, proxies, origin, path, token.clone(), Patience::default())?)
        }
        manifest::Remote::Ssh { user, host, port, path, key, host_key } => {
            let account = (user.as_deref().unwrap_or(USER), dialled(host)?, *port);
            Location::Server(Ssh::server(
                client.dialler(),
                account,
                path,
                key.clone(),
                trust(host_key.as_ref()),
                Patience::default(),
            ))
        }
    })
}

fn dialled(host: &url::Host) -> anyhow::Result<Host> {
    Host::parse(&host.to_string()).with_context(|| format!("{host} can't be dialled"))
}
