//! Whom the local authority makes certificates for: names that the router knows.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use atoll_gateway::tls::Admits;
use atoll_runtime::{Decision, Head};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use super::{host::Components, knowing::Knowing, running};

/// A name gets a certificate of the local CA if `GET https://NAME/` would be anything but refused.
pub(super) struct Decides {
    components: Arc<ArcSwap<Components>>,
}

impl Decides {
    pub(super) fn new(components: &Arc<ArcSwap<Components>>) -> Self {
        Self { components: components.clone() }
    }
}

impl Admits for Decides {
    fn admits<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<bool>> {
        Box::pin(async move {
            let components = self.components.load_full();
            let Some(router) = running::router(&components) else {
                return Some(true);
            };
            let router = Knowing(router.slot.clone()).generation()?;
            let head = Head {
                scheme: "https",
                authority: name,
                method: &Method::GET,
                path: "/",
                query: None,
                fields: &HeaderMap::new(),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            let decision = router.decide(&head).await.ok()?;
            Some(!matches!(*decision, Decision::Refuse { .. }))
        })
    }
}
