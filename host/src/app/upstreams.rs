//! What requests may be sent to: services, and what the manifest names by URLs.

use std::sync::Arc;

use anyhow::Context as _;
use atoll_gateway::http::{Place, Upstream, UrlUpstream};
use atoll_net::{Client, Egress, Protocol, Tls};
use atoll_runtime::Role;

use super::{files, host::Components, running::Running};
use crate::manifest::{self, Manifest};

/// Those that may serve, whether they do yet or not.
pub(super) fn services(components: &Components) -> impl Iterator<Item = (Arc<str>, Upstream)> {
    let service = |running: &Running| matches!(running.role, Some(Role::Service { .. }));
    let services = components.iter().filter(move |(_, running)| service(running));
    services.map(|(name, running)| (Arc::from(&**name), Upstream::Component(running.slot.clone())))
}

/// Those that the manifest names by URLs.
pub(super) fn urls(manifest: &Manifest, client: &Client, tls: &Tls) -> anyhow::Result<Vec<(Arc<str>, Upstream)>> {
    let mut upstreams = Vec::new();
    for said in manifest.upstreams.values() {
        let tls = match &said.ca {
            None => tls.clone(),
            Some(file) => files::roots(file)?,
        };
        let plain = tls.offering(atoll_net::HTTP1);
        let mut places = Vec::new();
        for url in &said.urls {
            let uri: http::Uri = url.to_string().parse().with_context(|| url.to_string())?;
            let protocol = match (said.protocol, uri.scheme_str()) {
                (manifest::Protocol::H2c, Some("http")) => Protocol::H2c,
                _ => Protocol::Http1,
            };
            let origin = |protocol, tls| {
                let origin = atoll_net::Origin::new(&uri, protocol, tls, Egress::Any);
                origin.with_context(|| format!("[upstream.{}]: {url}", said.name))
            };
            places.push(Place::new(origin(protocol, &tls)?, origin(Protocol::Http1, &plain)?));
        }
        let (client, places) = (client.within(said.connect, said.response), places.into());
        let upstream = UrlUpstream { client, places, raw_path: said.raw_path, patience: said.response };
        upstreams.push((Arc::from(&*said.name), Upstream::Url(upstream)));
    }
    Ok(upstreams)
}
