//! What one client may have at once of something that there are few of: the others find the rest free, however slowly it
//! sends or takes. A client is an address of IPv4 or a /64 of IPv6.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::http::connections::neighbourhood;

/// Of how many one client has one.
const PART: usize = 4;

/// Requests of one client that wait for a share of its own, and for how long.
const WAITING: usize = 1024;
const WAIT: Duration = Duration::from_secs(5);

/// The clients that have something now.
#[derive(Default)]
pub(super) struct Shares(Mutex<HashMap<IpAddr, Share>>);

struct Share {
    free: Arc<Semaphore>,
    /// Who has a seat, or waits for one.
    present: usize,
}

/// One of a client's share; given back when it is dropped.
pub(super) struct Seat {
    shares: Arc<Shares>,
    client: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// One of the `room` that there are for all; none where the client has its share. `wait` for one of its own.
    pub(super) async fn seat(self: &Arc<Self>, client: IpAddr, room: usize, wait: bool) -> Option<Seat> {
        let client = neighbourhood(client);
        let share = part(room);
        let free = {
            let mut clients = self.clients();
            let has =
                clients.entry(client).or_insert_with(|| Share { free: Arc::new(Semaphore::new(share)), present: 0 });
            if has.present >= share + if wait { WAITING } else { 0 } {
                return None;
            }
            has.present += 1;
            has.free.clone()
        };
        // Gives its place back, whatever comes of it.
        let mut seat = Seat { shares: self.clone(), client, permit: None };
        seat.permit = match free.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            // Of a share that has grown meanwhile.
            Err(_) if !wait => return None,
            Err(_) => Some(timeout(WAIT, free.acquire_owned()).await.ok()?.ok()?),
        };
        Some(seat)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A quarter; of few two, so that one which lasts is not all that a client may have, as long as one is left for others.
fn part(room: usize) -> usize {
    (room / PART).max(2).min(room.saturating_sub(1)).max(1)
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = self.shares.clients();
        drop(self.permit.take());
        if let Some(share) = clients.get_mut(&self.client) {
            share.present -= 1;
            if share.present == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::{Seat, Shares, WAITING};

    fn client(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[tokio::test]
    async fn a_client_has_a_part_and_waits_for_its_own() {
        let shares = Arc::<Shares>::default();
        let seat = async |address: &str, wait| shares.seat(client(address), 8, wait).await;
        let one = seat("192.0.2.1", false).await.unwrap();
        let two = seat("::ffff:192.0.2.1", false).await.unwrap();
        assert!(seat("192.0.2.1", false).await.is_none());
        assert!(seat("192.0.2.2", false).await.is_some(), "another has its own");
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.seat(client("192.0.2.1"), 8, true).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        let three: Seat = waiting.await.unwrap().unwrap();
        drop((two, three));
        assert!(shares.clients().is_empty());
    }

    #[tokio::test]
    async fn of_little_everybody_has_one() {
        let shares = Arc::<Shares>::default();
        for room in [0, 1, 2] {
            let seat = shares.seat(client("2001:db8::1"), room, false).await;
            assert!(seat.is_some());
            assert!(shares.seat(client("2001:db8::2"), room, false).await.is_none(), "{room}");
        }
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let shares = Arc::<Shares>::default();
        let _seat = shares.seat(client("192.0.2.1"), 1, true).await.unwrap();
        let wait = |_| {
            let shares = shares.clone();
            tokio::spawn(async move { shares.seat(client("192.0.2.1"), 1, true).await })
        };
        let waiting: Vec<_> = (0..WAITING).map(wait).collect();
        while shares.clients()[&client("192.0.2.1")].present <= WAITING {
            tokio::task::yield_now().await;
        }
        let beyond = timeout(Duration::ZERO, shares.seat(client("192.0.2.1"), 1, true)).await;
        assert!(beyond.expect("at once").is_none());
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        assert_eq!(shares.clients()[&client("192.0.2.1")].present, 1);
    }
}
