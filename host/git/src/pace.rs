//! When a remote is asked again: as often as its binding says, and after failures sooner, but ever less so; and no sooner than
//! a server asks for.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    time::Duration,
};

use crate::{Location, Remote};

/// After the first failure; then twice as long each time, up to the poll's interval.
pub(crate) const RETRY: Duration = Duration::from_millis(250);

/// How often one remote is asked.
pub(crate) struct Pace {
    poll: Duration,
    /// A server is not asked by everybody at once, though they began together.
    jitter: bool,
    failures: u32,
}

impl Pace {
    pub(crate) fn of(remote: &Remote, poll: Duration) -> Self {
        Self { poll, jitter: matches!(remote.location, Location::Server(_)), failures: 0 }
    }

    pub(crate) fn poll(&self) -> Duration {
        self.poll
    }

    /// When to ask again, after this went well or did not; and `respite` is what the server asks for.
    pub(crate) fn next(&mut self, well: bool, respite: Duration) -> Duration {
        self.failures = if well { 0 } else { self.failures.saturating_add(1) };
        let delay = delay(self.failures, self.poll).max(respite);
        if self.jitter { longer(delay) } else { delay }
    }
}

/// After so many failures, one after the other.
fn delay(failures: u32, poll: Duration) -> Duration {
    failures.checked_sub(1).map_or(poll, |before| RETRY.saturating_mul(1 << before.min(20)).min(poll))
}

/// By up to a tenth, which nobody can tell beforehand.
fn longer(delay: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    delay + delay * u32::try_from(random % 100).expect("below a hundred") / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_polls() {
        let minute = Duration::from_mins(1);
        let delays = (0..=10).map(|failures| delay(failures, minute).as_millis());
        assert!(delays.eq([60_000, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]));
        assert_eq!(delay(u32::MAX, minute), minute);
        assert_eq!(delay(u32::MAX, Duration::MAX).as_secs(), 262_144);
        assert_eq!(delay(1, Duration::from_millis(10)).as_millis(), 10);
    }

    #[test]
    fn nobody_can_tell_when_a_server_is_asked() {
        let mut seen: Vec<_> = (0..100).map(|_| longer(Duration::from_secs(1)).as_millis()).collect();
        assert!(seen.iter().all(|delay| (1_000..1_100).contains(delay)), "{seen:?}");
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn a_remote_is_asked_at_its_pace() {
        const NEVER: Duration = Duration::ZERO;
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        let mut local = Pace::of(&Remote::local("/x"), minute);
        let mut next = |well, respite| local.next(well, respite).as_millis();
        assert_eq!([next(true, NEVER), next(false, NEVER), next(false, NEVER)], [60_000, 250, 500]);
        assert_eq!([next(true, NEVER), next(false, NEVER)], [60_000, 250]);
        // A respite counts where it is longer, and does not end what grows.
        assert_eq!([next(false, hour), next(false, Duration::from_millis(1))], [3_600_000, 1_000]);
    }

    #[test]
    fn a_server_is_asked_at_nobodys_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _within = runtime.enter();
        let host = atoll_net::Host::parse("a.test").unwrap();
        let server = crate::Daemon::server(&atoll_net::Dialler::system(), host, 1, "/x", crate::Patience::default());
        let mut pace = Pace::of(&Remote::server(server), Duration::from_mins(1));
        for (well, respite, least) in [(true, 0, 60_000), (false, 20_000, 20_000)] {
            let next = |_| pace.next(well, Duration::from_millis(respite)).as_millis();
            let mut seen: Vec<_> = (0..100).map(next).collect();
            assert!(seen[0] < least * 11 / 10 && seen.iter().all(|delay| *delay >= least), "{seen:?}");
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.len() > 10, "{seen:?}");
        }
    }
}
