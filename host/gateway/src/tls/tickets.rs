//! Keys that seal what clients keep to resume a session: made anew every six hours, and of no use after twelve. rustls has
//! such, but it looks at its clock when a key is next used, and a ticket of last week opens on a host that was idle since.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use rustls::{crypto::aws_lc_rs, server::ProducesTickets};

/// How long a key seals; it opens for twice as long.
const SEALS: Duration = Duration::from_hours(6);
const OPENS: Duration = Duration::from_hours(12);

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// Shared by all listeners.
#[derive(Clone)]
pub struct Tickets(Arc<Keys>);

impl Tickets {
    /// Fails where the system has no randomness to give.
    pub fn new() -> Result<Self, rustls::Error> {
        Keys::new(Box::new(Instant::now)).map(|keys| Self(Arc::new(keys)))
    }

    pub(super) fn producer(&self) -> Arc<dyn ProducesTickets> {
        self.0.clone()
    }
}

struct Keys {
    clock: Clock,
    /// The newest first; the one before it is for opening.
    keys: RwLock<[Option<Key>; 2]>,
}

#[derive(Clone)]
struct Key {
    sealer: Arc<dyn ProducesTickets>,
    made: Instant,
}

impl Keys {
    fn new(clock: Clock) -> Result<Self, rustls::Error> {
        let first = Key { sealer: aws_lc_rs::Ticketer::new()?, made: clock() };
        Ok(Self { clock, keys: RwLock::new([Some(first), None]) })
    }

    /// The key that seals now; none where a new one is due and can't be made.
    fn sealing(&self) -> Option<Key> {
        let now = (self.clock)();
        let young = |keys: &[Option<Key>; 2]| keys[0].clone().filter(|key| now.duration_since(key.made) < SEALS);
        if let Some(key) = young(&self.keys.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(key);
        }
        let sealer = aws_lc_rs::Ticketer::new().ok()?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = young(&keys) {
            return Some(key);
        }
        let key = Key { sealer, made: now };
        keys.swap(0, 1);
        keys[0] = Some(key.clone());
        Some(key)
    }
}

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        true
    }

    /// What a client is told.
    fn lifetime(&self) -> u32 {
        u32::try_from(OPENS.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.sealing()?.sealer.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut opening = keys.iter().flatten().filter(|key| now.duration_since(key.made) < OPENS);
        opening.find_map(|key| key.sealer.decrypt(cipher))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::{Duration, Instant},
    };

    use rustls::server::ProducesTickets;

    use super::Keys;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Keys, and what sets their clock to so many minutes after they were made.
    fn keys() -> (Keys, impl Fn(u32)) {
        let begun = Instant::now();
        let now = Arc::new(Mutex::new(begun));
        let clock = now.clone();
        let keys = Keys::new(Box::new(move || *clock.lock().unwrap())).unwrap();
        (keys, move |minutes| *now.lock().unwrap() = begun + MINUTE * minutes)
    }

    #[test]
    fn a_ticket_opens_for_its_life_and_no_longer() {
        // The others that are sealed meanwhile.
        for meanwhile in [&[][..], &[1, 359], &[360], &[361, 719], &[361, 720, 1079]] {
            for (sealed, after, opens) in
                [(0, 0, true), (0, 359, true), (0, 719, true), (0, 720, false), (0, 6000, false), (359, 719, true)]
            {
                let (keys, at) = keys();
                at(sealed);
                let ticket = keys.encrypt(b"session").unwrap();
                for minute in meanwhile.iter().filter(|minute| (sealed..=after).contains(*minute)) {
                    at(*minute);
                    assert!(keys.encrypt(b"another").is_some());
                }
                at(after);
                let opened = keys.decrypt(&ticket);
                assert_eq!(opened.as_deref(), opens.then_some(&b"session"[..]), "{meanwhile:?} {sealed} {after}");
            }
        }
        assert_eq!(keys().0.lifetime(), 12 * 60 * 60);
    }

    #[test]
    fn what_was_not_sealed_here_is_not_opened() {
        let [(one, _), (other, at)] = [keys(), keys()];
        let ticket = one.encrypt(b"session").unwrap();
        for minute in [0, 360, 720] {
            at(minute);
            other.encrypt(b"another").unwrap();
            assert_eq!(other.decrypt(&ticket), None);
        }
        for wrong in [&ticket[1..], &[ticket.clone(), vec![0]].concat(), &[]] {
            assert_eq!(one.decrypt(wrong), None);
        }
    }
}
