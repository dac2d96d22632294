//! What one client may have at once of something that there are few of: the others find the rest free, however slowly it
//! sends or takes, and one that has nothing is let in before one that has. A client is an address of IPv4 or a /64 of IPv6.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::http::connections::neighbourhood;

/// Of what it has and nobody has, one client has one of so many: the first a quarter of all, the next a quarter of the rest.
const PART: usize = 4;

/// So many it may have of few, so that one which lasts is not all; as long as one is left for others.
const FEW: usize = 2;

/// Requests of one client that wait for a share of its own, and for how long.
const WAITING: usize = 1024;
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// The clients that have something now.
#[derive(Default)]
pub(super) struct Shares(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many there are for all, when it was heard last.
    room: usize,
    taken: usize,
    clients: HashMap<IpAddr, Share>,
    /// Numbers of those who wait.
    next: u64,
    waiting: usize,
}

#[derive(Default)]
struct Share {
    taken: usize,
    queue: VecDeque<(u64, oneshot::Sender<Seat>)>,
}

/// One of a client's share; given back when it is dropped.
pub(super) struct Seat {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    /// One of the `room` that there are for all; none where the client has its share. `wait` for one of its own. A client's
    /// first is given though there be no room.
    pub(super) async fn seat(self: &Arc<Self>, client: IpAddr, room: usize, wait: bool) -> Option<Seat> {
        let client = neighbourhood(client);
        let turn = {
            let mut state = self.state();
            if state.admit(client, room) {
                return Some(Seat { shares: self.clone(), client });
            }
            if !wait {
                return None;
            }
            state.queue(client)?
        };
        // One that is given when nobody listens any more goes back by itself.
        timeout(WAIT, turn).await.ok()?.ok()
    }

    /// One of them, where the client may have it now.
    pub(super) fn free(self: &Arc<Self>, client: IpAddr, room: usize) -> Option<Seat> {
        let client = neighbourhood(client);
        self.state().admit(client, room).then(|| Seat { shares: self.clone(), client })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it has one more now, of `room` for all.
    fn admit(&mut self, client: IpAddr, room: usize) -> bool {
        self.room = room;
        let may = self.may_take(client);
        if may {
            self.take(client);
        }
        may
    }

    fn may_take(&self, client: IpAddr) -> bool {
        self.clients.get(&client).is_none_or(|share| self.may_grow(share))
    }

    fn may_grow(&self, share: &Share) -> bool {
        let free = self.room.saturating_sub(self.taken);
        share.taken == 0 || free > 1 && share.taken < ((share.taken + free) / PART).max(FEW)
    }

    fn take(&mut self, client: IpAddr) {
        self.taken += 1;
        self.clients.entry(client).or_default().taken += 1;
    }

    fn queue(&mut self, client: IpAddr) -> Option<oneshot::Receiver<Seat>> {
        let Self { clients, waiting, next, .. } = self;
        let queue = &mut clients.entry(client).or_default().queue;
        if queue.len() >= WAITING {
            // Those who have gone are of no account.
            *waiting -= queue.len();
            queue.retain(|(_, turn)| !turn.is_closed());
            *waiting += queue.len();
            if queue.len() >= WAITING {
                return None;
            }
        }
        let (turn, seated) = oneshot::channel();
        queue.push_back((*next, turn));
        (*next, *waiting) = (*next + 1, *waiting + 1);
        Some(seated)
    }

    /// Who is to have the next: of those who wait and may, a client that has least, and of these the one that came first.
    fn turn(&mut self) -> Option<(IpAddr, oneshot::Sender<Seat>)> {
        while self.waiting > 0 {
            let first = |(client, share): (&IpAddr, &Share)| {
                let number = share.queue.front()?.0;
                self.may_grow(share).then_some((share.taken, number, *client))
            };
            let (.., client) = self.clients.iter().filter_map(first).min()?;
            let (_, turn) = self.clients.get_mut(&client)?.queue.pop_front()?;
            self.waiting -= 1;
            if !turn.is_closed() {
                return Some((client, turn));
            }
        }
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Beyond the lock: whoever has just gone gives its own back, which ends here.
        let mut gone = Vec::new();
        let mut state = self.shares.state();
        state.taken -= 1;
        if let Some(share) = state.clients.get_mut(&self.client) {
            share.taken -= 1;
        }
        while let Some((client, turn)) = state.turn() {
            state.take(client);
            gone.extend(turn.send(Seat { shares: self.shares.clone(), client }).err());
        }
        if state.clients.get(&self.client).is_some_and(|share| share.taken == 0 && share.queue.is_empty()) {
            state.clients.remove(&self.client);
        }
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use tokio::{task::JoinHandle, time::timeout};

    use super::{Seat, Shares, WAITING};

    fn client(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// One that waits, and has its place in the queue.
    async fn waits(shares: &Arc<Shares>, address: &str, room: usize) -> JoinHandle<Option<Seat>> {
        let (shares, address, before) = (shares.clone(), client(address), shares.state().waiting);
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.seat(address, room, true).await }
        });
        while shares.state().waiting == before {
            tokio::task::yield_now().await;
        }
        waiting
    }

    #[tokio::test]
    async fn a_client_has_a_part_and_waits_for_its_own() {
        let shares = Arc::<Shares>::default();
        let seat = async |address: &str| shares.seat(client(address), 8, false).await;
        let one = seat("192.0.2.1").await.unwrap();
        let two = seat("::ffff:192.0.2.1").await.unwrap();
        assert!(seat("192.0.2.1").await.is_none());
        assert!(seat("192.0.2.2").await.is_some(), "another has its own");
        let waiting = waits(&shares, "192.0.2.1", 8).await;
        assert!(!waiting.is_finished());
        drop(one);
        let three: Seat = waiting.await.unwrap().unwrap();
        drop((two, three));
        let state = shares.state();
        assert!(state.clients.is_empty() && (state.taken, state.waiting) == (0, 0));
    }

    /// Each takes what it can get; how many that is, one client after the other.
    #[tokio::test]
    async fn each_has_a_part_of_what_is_left() {
        for (room, expected) in [
            (0, &[1, 1, 1][..]),
            (1, &[1, 1]),
            (2, &[1, 1, 1]),
            (3, &[2, 1, 1]),
            (4, &[2, 1, 1, 1]),
            (8, &[2, 2, 2, 1, 1, 1]),
            (64, &[16, 12, 9, 6, 5, 4, 3, 2, 2, 2, 2, 1, 1]),
        ] {
            let shares = Arc::<Shares>::default();
            let (mut held, mut taken) = (Vec::new(), Vec::new());
            for number in 0..expected.len() {
                let before = held.len();
                while let Some(seat) = shares.seat(client(&format!("2001:db8:{number}::1")), room, false).await {
                    held.push(seat);
                }
                taken.push(held.len() - before);
            }
            assert_eq!(taken, expected, "{room}");
        }
    }

    #[tokio::test]
    async fn who_has_less_goes_first() {
        let shares = Arc::<Shares>::default();
        let seat = async |address: &str| shares.seat(client(address), 4, false).await.unwrap();
        let (a, b, c, d) =
            (seat("192.0.2.1").await, seat("192.0.2.1").await, seat("192.0.2.2").await, seat("192.0.2.3").await);
        let greedy = waits(&shares, "192.0.2.1", 4).await;
        let modest = waits(&shares, "192.0.2.2", 4).await;
        let late = waits(&shares, "192.0.2.3", 4).await;
        drop((a, d));
        // Of three that have one or none, who has none; then who came first.
        let late = late.await.unwrap().unwrap();
        assert!(!greedy.is_finished() && !modest.is_finished(), "one stays free for who comes");
        drop((b, late));
        let (greedy, modest) = (greedy.await.unwrap().unwrap(), modest.await.unwrap().unwrap());
        drop((c, greedy, modest));
        assert!(shares.state().clients.is_empty());
    }

    #[tokio::test]
    async fn no_more_wait_than_may_and_who_gives_up_is_forgotten() {
        let shares = Arc::<Shares>::default();
        let seat = shares.seat(client("192.0.2.1"), 1, true).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            waiting.push(waits(&shares, "192.0.2.1", 1).await);
        }
        let beyond = timeout(Duration::ZERO, shares.seat(client("192.0.2.1"), 1, true)).await;
        assert!(beyond.expect("at once").is_none());
        let last = waiting.pop().unwrap();
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        drop(seat);
        assert!(last.await.unwrap().is_some());
        let state = shares.state();
        assert!(state.clients.is_empty() && (state.taken, state.waiting) == (0, 0));
    }
}
