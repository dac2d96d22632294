//! The program's allocator, and what it gives back to the system: by itself it keeps what was ever taken, so that a crowd of
//! connections that left would be remembered for ever.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// How often a thread looks for what is free at most.
const OFTEN: Duration = Duration::from_secs(1);

thread_local! {
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives back what is free of this thread's, now and then. Called by a thread that has nothing to do.
pub fn tidy() {
    let now = Instant::now();
    if LOOKED.get().is_some_and(|looked| now.duration_since(looked) < OFTEN) {
        return;
    }
    LOOKED.set(Some(now));
    #[expect(unsafe_code, reason = "it touches nothing but the allocator's own lists, of this thread's heap")]
    unsafe {
        libmimalloc_sys::mi_collect(false);
    }
}
