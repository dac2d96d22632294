//! Who tried to tell of a push, and did not know the secret: after a few such tries a client is heard no more for a while,
//! whatever it shows. A client is an address of IPv4 or a /64 of IPv6; what the others show is looked at as before.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::http::connections::neighbourhood;

/// Wrong secrets of one client, from the first of them on. A forge with an old secret tries a few times.
const TRIES: u32 = 20;
const WINDOW: Duration = Duration::from_mins(1);

/// Clients that are remembered. Of more the oldest is forgotten: guessing from so many places is slow for other reasons.
const CLIENTS: usize = 4096;

#[derive(Default)]
pub(super) struct Strangers(Mutex<HashMap<IpAddr, Stranger>>);

struct Stranger {
    since: Instant,
    tries: u32,
}

impl Strangers {
    /// How long a client has to stay away; nothing where it is heard.
    pub(super) fn barred(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let strangers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stranger = strangers.get(&neighbourhood(client)).filter(|stranger| stranger.tries >= TRIES)?;
        WINDOW.checked_sub(now.saturating_duration_since(stranger.since)).filter(|left| !left.is_zero())
    }

    /// It did not know a secret. How long it has to stay away, where it did not have to before.
    pub(super) fn wrong(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let client = neighbourhood(client);
        let mut strangers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |stranger: &Stranger| now.saturating_duration_since(stranger.since) >= WINDOW;
        if strangers.len() >= CLIENTS && !strangers.contains_key(&client) {
            strangers.retain(|_, stranger| !over(stranger));
            let oldest = strangers.iter().min_by_key(|(_, stranger)| stranger.since).map(|(client, _)| *client);
            if let Some(oldest) = oldest.filter(|_| strangers.len() >= CLIENTS) {
                strangers.remove(&oldest);
            }
        }
        let stranger = strangers.entry(client).or_insert(Stranger { since: now, tries: 0 });
        if over(stranger) {
            *stranger = Stranger { since: now, tries: 0 };
        }
        stranger.tries += 1;
        let barred = stranger.tries == TRIES;
        barred.then(|| WINDOW.saturating_sub(now.saturating_duration_since(stranger.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_client_that_guesses_is_barred_for_a_while() {
        let (strangers, begun) = (Strangers::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let left = |address: &str, seconds| strangers.barred(client(address), at(seconds)).map(|left| left.as_secs());
        for (tries, address, barring) in [
            (20, "192.0.2.1", true),
            (19, "192.0.2.2", false),
            (19, "2001:db8::1", false),
            (1, "2001:db8::2:0:0:1", true),
        ] {
            let barred = (0..tries).filter_map(|_| strangers.wrong(client(address), at(0)));
            assert_eq!(barred.collect::<Vec<_>>(), vec![WINDOW; usize::from(barring)], "{address}");
        }
        for (address, seconds, expected) in [
            ("192.0.2.1", 0, Some(60)),
            ("192.0.2.1", 59, Some(1)),
            ("::ffff:192.0.2.1", 59, Some(1)),
            ("192.0.2.1", 60, None),
            ("192.0.2.2", 0, None),
            ("192.0.2.3", 0, None),
            ("2001:db8::3:0:0:7", 30, Some(30)),
            ("2001:db8:0:1::1", 30, None),
        ] {
            assert_eq!(left(address, seconds), expected, "{address} after {seconds} s");
        }
        // One minute's tries do not count in the next.
        assert_eq!(strangers.wrong(client("192.0.2.2"), at(60)), None);
        assert_eq!(left("192.0.2.2", 60), None);
    }

    #[test]
    fn of_many_the_oldest_is_forgotten() {
        let (strangers, begun) = (Strangers::default(), Instant::now());
        let first = client("192.0.2.1");
        (0..TRIES).for_each(|_| _ = strangers.wrong(first, begun));
        let other = |at: usize| IpAddr::from(u32::try_from(at).unwrap().to_be_bytes());
        let later = begun + Duration::from_secs(1);
        (1..CLIENTS).for_each(|at| _ = strangers.wrong(other(at), later));
        assert!(strangers.barred(first, later).is_some());
        (CLIENTS..2 * CLIENTS).for_each(|at| _ = strangers.wrong(other(at), later));
        assert_eq!(strangers.barred(first, later), None);
        assert_eq!(strangers.0.lock().unwrap().len(), CLIENTS);
        // When their minute is over, all go at once.
        assert_eq!(strangers.wrong(first, later + WINDOW), None);
        assert_eq!(strangers.0.lock().unwrap().len(), 1);
    }
}
