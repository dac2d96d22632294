//! Whom the local authority makes certificates for: names that the router knows.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use atoll_gateway::tls::Admits;
use atoll_runtime::{Decision, Head, Role};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use super::host::Components;

/// A name gets a certificate of the local CA if `GET https://NAME/` would be anything but refused.
pub(super) struct Decides(pub(super) Arc<ArcSwap<Components>>);

impl Admits for Decides {
    fn admits<'a>(&'a self, name: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let components = self.0.load_full();
            let Some(router) = components.values().find(|running| running.role == Some(Role::Router)) else {
                return true;
            };
            let Some(router) = router.slot.serving() else { return false };
            let head = Head {
                scheme: "https",
                authority: name,
                method: &Method::GET,
                path: "/",
                query: None,
                fields: &HeaderMap::new(),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            router.decide(&head).await.is_ok_and(|decision| !matches!(*decision, Decision::Refuse { .. }))
        })
    }
}
