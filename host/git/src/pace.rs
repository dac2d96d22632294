//! When a remote is asked again: as often as its binding says, and after failures sooner, but ever less so.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    time::Duration,
};

/// After the first failure; then twice as long each time, up to the poll's interval.
pub(crate) const RETRY: Duration = Duration::from_millis(250);

/// After so many failures, one after the other.
pub(crate) fn delay(failures: u32, poll: Duration) -> Duration {
    failures.checked_sub(1).map_or(poll, |before| RETRY.saturating_mul(1 << before.min(20)).min(poll))
}

/// By up to a tenth, which nobody can tell beforehand.
pub(crate) fn longer(delay: Duration) -> Duration {
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
}
