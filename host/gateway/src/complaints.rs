//! How often the host's log is told of what fails again and again, like an upstream: when it begins, and once a minute while
//! it goes on. The access log has each request's reason, where its format has room for one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const AGAIN: Duration = Duration::from_mins(1);

/// Of one thing that may fail.
#[derive(Default)]
pub struct Complaints(Mutex<State>);

#[derive(Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Complaints {
    /// It failed. Where it is time to say so: in which words, after the reason.
    pub fn failed(&self, now: Instant) -> Option<String> {
        let mut state = self.state();
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < AGAIN) {
            state.untold += 1;
            return None;
        }
        let untold = std::mem::take(&mut state.untold);
        state.told = Some(now);
        Some(match untold {
            0 => String::new(),
            1 => " (and once more before)".to_owned(),
            more => format!(" (and {more} times more before)"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Complaints;

    #[test]
    fn what_goes_on_is_told_once_a_minute() {
        let (complaints, begun) = (Complaints::default(), Instant::now());
        for (seconds, expected) in [
            (0, Some("")),
            (1, None),
            (59, None),
            (60, Some(" (and 2 times more before)")),
            (61, None),
            (121, Some(" (and once more before)")),
            (500, Some("")),
        ] {
            let words = complaints.failed(begun + Duration::from_secs(seconds));
            assert_eq!(words.as_deref(), expected, "after {seconds} s");
        }
    }
}
