//! Names to addresses. It answers and judges nothing: whether an address may be dialled is `egress`'s to say.

use std::{
    future::Future,
    io,
    net::{IpAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
};

use tokio::sync::Semaphore;

/// Lookups that may be under way at once. One holds a thread for as long as the system's resolver takes, also when
/// nobody waits for it any more.
const LOOKUPS: usize = 64;

pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name, best first.
pub trait Resolve: Send + Sync + 'static {
    fn resolve(&self, name: &str) -> Lookup;
}

/// The system's own resolver, with its hosts file and its search order.
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Lookup {
        let (permits, name) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = move || {
                let _held = permit;
                Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(look_up).await?
        })
    }
}
