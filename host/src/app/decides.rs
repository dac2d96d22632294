//! What a router's decisions are good for: none before its branches are known, since what it would say of empty ones lets
//! everybody in; and the names for which the local authority makes certificates.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use atoll_gateway::{
    http::{Component, Live},
    tls::Admits,
};
use atoll_runtime::{Decision, Head, Role};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use super::{bindings::Known, host::Components};

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

/// A router that decides once it knows what its branches say, be it nothing.
pub(super) struct Knowing {
    pub(super) slot: Arc<dyn Component>,
    pub(super) reads: Vec<Known>,
}

impl Component for Knowing {
    fn name(&self) -> &Arc<str> {
        self.slot.name()
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        if self.reads.iter().all(Known::is) { self.slot.serving() } else { None }
    }
}
