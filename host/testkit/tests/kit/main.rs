//! The kit, and the runtime through it, with guests that `scripts/test` builds: what an answer looks like, what a misdeed
//! costs, and which generation serves.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod cases;
mod crowd;
mod faults;
mod gone;
mod keeper;
mod publishing;
mod queue;
mod room;
mod router;
mod service;
mod support;
mod ticks;
