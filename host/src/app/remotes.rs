//! Where a binding's branch comes from: the manifest's words, turned into a way to a repository. Nothing is opened yet.

use std::fs;

use anyhow::Context as _;
use atoll_git::{Daemon, Http, Location, Patience, Server, Ssh};
use atoll_net::{Client, Egress, HTTP, Host, Origin, Protocol, Secret, Tls, ssh::Trust};

use crate::manifest::{self, Binding};

/// Who we are where an address over SSH does not say: what forges have.
const USER: &str = "git";

/// Called within a tokio runtime. Reads the binding's roots of trust.
///
/// # Errors
/// A file that cannot be used, in words.
pub(super) fn location(said: &Binding, client: &Client, tls: &Tls) -> anyhow::Result<Location> {
    Ok(match &said.remote {
        manifest::Remote::Local(path) => Location::Local(path.clone()),
        manifest::Remote::Git { host, port, path } => {
            Location::Server(Daemon::server(client.dialler(), dialled(host)?, *port, path, Patience::default()))
        }
        manifest::Remote::Http { origin, path, ca, token } => {
            let tls = match ca {
                None => tls.clone(),
                Some(file) => {
                    let pem = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
                    Tls::with_roots(&file.display().to_string(), &pem, HTTP)?
                }
            };
            let origin = Origin::new(&origin.to_string().parse()?, Protocol::Http1, &tls, Egress::Any)?;
            Location::Server(web(client, origin, path, token.clone()))
        }
        manifest::Remote::Ssh { user, host, port, path, key, host_key } => {
            let trust = match host_key {
                Some(manifest::HostKey::KnownHosts(file)) => Trust::KnownHosts(file.clone()),
                Some(manifest::HostKey::Pin(pin)) => Trust::Pin(pin.clone()),
                None => Trust::Nobody,
            };
            let account = (user.as_deref().unwrap_or(USER), dialled(host)?, *port);
            Location::Server(Ssh::server(client.dialler(), account, path, key.clone(), trust, Patience::default()))
        }
    })
}

fn web(client: &Client, origin: Origin, path: &str, token: Option<Secret>) -> Server {
    Http::server(client, origin, path, token, Patience::default())
}

fn dialled(host: &url::Host) -> anyhow::Result<Host> {
    Host::parse(&host.to_string()).with_context(|| format!("{host} can't be dialled"))
}
