//! What time it is. Handed in, so that ages and durations can be tested.

use std::time::{Instant, SystemTime};

pub trait Clock: Send + Sync + 'static {
    /// For durations.
    fn instant(&self) -> Instant;
    /// For what is written down.
    fn wall(&self) -> SystemTime;
}

/// The system's.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
