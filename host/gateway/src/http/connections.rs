//! Every connection that is open, whoever it is from: how many an address may have, which one makes room for another, and
//! the look at each once a second.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
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
    /// What each address has.
    addresses: HashMap<IpAddr, BTreeSet<u64>>,
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
        let id = open.next;
        open.next += 1;
        if let Some(address) = address
            && !open.count(id, address, limits)
        {
            return None;
        }
        open.lines.insert(id, Line { watch: watch.clone(), account: Account::default(), address });
        drop(open);
        // After it is on the list, so that `drain` misses nobody.
        if self.draining.load(Ordering::SeqCst) {
            watch.tell(Order::Leave);
        }
        Some(Admission { connections: self.clone(), id, watch })
    }

    /// From now on a connection that was not counted is that address's; not, where it has as many as it may.
    pub(super) fn introduce(&self, admission: &Admission, address: IpAddr, limits: &Limits) -> bool {
        let address = neighbourhood(address);
        let mut open = self.open();
        if !open.count(admission.id, address, limits) {
            return false;
        }
        open.lines.get_mut(&admission.id).expect("it is there until the admission is dropped").address = Some(address);
        true
    }

    pub(super) fn count(&self) -> usize {
        self.open().lines.len()
    }

    /// Has those that were idle for longest make room.
    pub(super) fn make_room(&self, limits: &Limits) {
        // A few at a time: a look at all of them is not for each newcomer.
        self.open().make_room((limits.connections / 256).max(1) as usize);
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
    /// Counts a connection as its address's, of whose the oldest idle one goes where it has as many as it may. Says whether
    /// there is room.
    fn count(&mut self, id: u64, address: IpAddr, limits: &Limits) -> bool {
        if let Some(has) = self.addresses.get(&address)
            && has.len() >= limits.address_connections as usize
        {
            let Some((_, oldest)) = has.iter().filter_map(|id| Some((self.lines[id].idle()?, *id))).min() else {
                return false;
            };
            self.end(oldest);
        }
        self.addresses.entry(address).or_default().insert(id);
        true
    }

    /// Ends up to so many connections, those first that have been idle for longest.
    fn make_room(&mut self, most: usize) {
        let mut idle: Vec<_> = self.lines.iter().filter_map(|(id, line)| Some((line.idle()?, *id))).collect();
        if idle.len() > most {
            idle.select_nth_unstable(most - 1);
            idle.truncate(most);
        }
        for (_, id) in idle {
            self.end(id);
        }
    }

    fn end(&mut self, id: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.watch.tell(Order::Yield);
        // Its place is another's already.
        let address = line.address.take();
        self.leave(id, address);
    }

    fn leave(&mut self, id: u64, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(has) = self.addresses.get_mut(&address) {
            has.remove(&id);
            if has.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Line {
    /// For how long it has been idle, the longest first; none where it is not.
    fn idle(&self) -> Option<Reverse<u32>> {
        let since = self.watch.idle()?;
        Some(Reverse(self.watch.now().wrapping_sub(since)))
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
        open.leave(self.id, address);
        let empty = open.lines.is_empty();
        drop(open);
        if empty {
            self.connections.left.notify_waiters();
        }
    }
}

/// What one client has: an address of IPv4, or a /64 of IPv6.
pub(super) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests;
