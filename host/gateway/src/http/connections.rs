//! Every connection that is open, whoever it is from: how many an address may have, which one makes room for another, and
//! the look at each once a second.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tokio::sync::Notify;

use crate::http::{
    limits::Limits,
    watch::{Account, Order, Watch},
};

/// The connections of one host.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    ticks: Arc<AtomicU32>,
    draining: AtomicBool,
    left: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    lines: BTreeMap<u64, Line>,
    /// How many each address has.
    addresses: HashMap<IpAddr, u32>,
}

struct Line {
    watch: Arc<Watch>,
    account: Account,
    address: Option<IpAddr>,
}

/// A place among those that are open; given back when it is dropped.
pub struct Admission {
    connections: Arc<Connections>,
    id: u64,
    pub(super) watch: Arc<Watch>,
}

impl Connections {
    /// Takes a connection in. Where its address has as many as it may, its oldest idle one goes for it; none where there is
    /// no such. An address of `None` is not counted.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>, limits: &Limits) -> Option<Admission> {
        let watch = Arc::new(Watch::new(self.ticks.clone(), limits));
        let address = address.map(neighbourhood);
        let mut open = self.open();
        if let Some(address) = address {
            let has = open.addresses.get(&address).copied().unwrap_or(0);
            if has >= limits.address_connections && !open.make_room(Some(address), 1) {
                return None;
            }
            *open.addresses.entry(address).or_insert(0) += 1;
        }
        let id = open.next;
        open.next += 1;
        open.lines.insert(id, Line { watch: watch.clone(), account: Account::default(), address });
        drop(open);
        // After it is on the list, so that `drain` misses nobody.
        if self.draining.load(Ordering::SeqCst) {
            watch.tell(Order::Leave);
        }
        Some(Admission { connections: self.clone(), id, watch })
    }

    pub(super) fn count(&self) -> usize {
        self.open().lines.len()
    }

    /// Has those that were idle for longest make room.
    pub(super) fn make_room(&self, limits: &Limits) {
        // A few at a time: a look at all of them is not for each newcomer.
        self.open().make_room(None, (limits.connections / 256).max(1) as usize);
    }

    /// A second has passed: tells those to go that had their time.
    pub(super) fn tick(&self) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for line in self.open().lines.values_mut() {
            if let Some(order) = line.watch.due(now, &mut line.account) {
                line.watch.tell(order);
            }
            line.watch.settle_down(now);
        }
    }

    /// Tells everybody to leave; whoever comes later too.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.tell(Order::Leave);
    }

    /// Ends what is left.
    pub(super) fn abort(&self) {
        self.tell(Order::Abort);
    }

    /// Returns when nobody is left.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    fn tell(&self, order: Order) {
        for line in self.open().lines.values() {
            line.watch.tell(order);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Ends up to so many connections, of one address or of all, those first that have been idle for longest. Says whether
    /// there was one.
    fn make_room(&mut self, address: Option<IpAddr>, most: usize) -> bool {
        let now = self.lines.values().next().map_or(0, |line| line.watch.now());
        let idle = |(id, line): (&u64, &Line)| {
            let since = line.watch.idle()?;
            (address.is_none() || line.address == address).then_some((std::cmp::Reverse(now.wrapping_sub(since)), *id))
        };
        let mut idle: Vec<_> = self.lines.iter().filter_map(idle).collect();
        if idle.len() > most {
            idle.select_nth_unstable(most - 1);
            idle.truncate(most);
        }
        for (_, id) in &idle {
            let line = self.lines.get_mut(id).expect("it was found there");
            line.watch.tell(Order::Yield);
            // Its place is another's already.
            let address = line.address.take();
            self.leave(address);
        }
        !idle.is_empty()
    }

    fn leave(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(has) = self.addresses.get_mut(&address) {
            *has -= 1;
            if *has == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Admission {
    /// Returns when the connection is to end although its handshake is not over.
    pub async fn revoked(&self) {
        self.watch.revoked().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        let address = open.lines.remove(&self.id).and_then(|line| line.address);
        open.leave(address);
        let empty = open.lines.is_empty();
        drop(open);
        if empty {
            self.connections.left.notify_waiters();
        }
    }
}

/// What one client has: an address of IPv4, or a /64 of IPv6.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests;
