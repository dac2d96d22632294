//! Which of an upstream's origins to try: one that could not be reached is left alone for a while, longer each time, and
//! is tried all the same where no other is left.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::http::roster::Place;

/// After the first refusal; twice as long after each further one.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(2);
/// As long as it may take to find out that it can't be reached.
const TRIAL: Duration = Duration::from_secs(5);

/// What is known of an origin.
#[derive(Default)]
pub(super) struct Health {
    /// Whether the rest is worth a look.
    poor: AtomicBool,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Refusals {
    count: u32,
    until: Option<Instant>,
    /// Whether somebody tries it now, while the others leave it alone.
    trial: bool,
}

impl Health {
    pub(super) fn answered(&self) {
        if self.poor.load(Ordering::Relaxed) {
            *self.refusals() = Refusals::default();
            self.poor.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn refused(&self, now: Instant) {
        let mut refusals = self.refusals();
        // Many requests find out at once: that is one refusal.
        if refusals.trial || refusals.until.is_none_or(|until| until <= now) {
            let pause = SHORTEST.saturating_mul(1 << refusals.count.min(10)).min(LONGEST);
            *refusals = Refusals { count: refusals.count + 1, until: Some(now + pause), trial: false };
        }
        self.poor.store(true, Ordering::Relaxed);
    }

    /// How often it could not be reached, one after the other; and until when it is left alone.
    pub(super) fn trouble(&self) -> Option<(u32, Instant)> {
        let refusals = self.refusals();
        refusals.until.filter(|_| refusals.count > 0).map(|until| (refusals.count, until))
    }

    /// Whether it is to be left alone. Who hears first that it is not, is to try it.
    fn rests(&self, now: Instant) -> bool {
        if !self.poor.load(Ordering::Relaxed) {
            return false;
        }
        let mut refusals = self.refusals();
        let rests = refusals.until.is_some_and(|until| until > now);
        if !rests {
            (refusals.trial, refusals.until) = (true, Some(now + TRIAL));
        }
        rests
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places in the order in which they are to be tried.
pub(super) fn in_turn(places: &[Place], now: Instant) -> impl Iterator<Item = &Place> {
    // Asked before any is tried, so that each is tried once. Nothing is allocated for a few.
    let resting: smallvec::SmallVec<[bool; 16]> =
        places.iter().map(|place| places.len() > 1 && place.health.rests(now)).collect();
    let last = resting.clone();
    let first = places.iter().zip(resting).filter(|(_, resting)| !resting);
    first.chain(places.iter().zip(last).filter(|(_, resting)| *resting)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Health;

    #[test]
    fn who_refuses_rests_longer_each_time() {
        let (health, begun) = (Health::default(), Instant::now());
        let mut now = begun;
        assert!(!health.rests(now));
        for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            health.refused(now);
            health.refused(now);
            let pause = Duration::from_secs(seconds);
            assert!(health.rests(now + pause.saturating_sub(Duration::from_millis(1))), "{seconds}");
            now += pause;
            assert!(!health.rests(now), "{seconds}");
        }
        health.answered();
        health.refused(now);
        let again = now + Duration::from_secs(1);
        assert!(health.rests(now) && !health.rests(again));
        assert!(health.rests(again) && health.rests(again + Duration::from_secs(4)), "one tries it, not all");
        assert!(!health.rests(again + Duration::from_secs(5)), "who tried it never told");
    }
}
