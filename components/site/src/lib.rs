//! The static server: answers requests out of the branch of its `pages` binding. It says which file, looks
//! at the first bytes of it for its type, and hands the host's stream on: no more of a file ever enters it. Preconditions, ranges and encodings are the host's too.
//!
//! `guest` alone touches bindings; the rest is plain Rust, tested natively.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(not(any(target_arch = "wasm32", test)), allow(dead_code, reason = "natively, the tests alone use it"))]

extern crate alloc;

mod answer;
mod date;
mod fields;
#[cfg(all(any(test, fuzzing), not(target_arch = "wasm32")))]
pub mod fuzzing;
#[cfg(target_arch = "wasm32")]
mod guest;
mod locate;
mod lookup;
mod magic;
mod media_type;
mod pointer;
mod problem;
mod rules;
mod site;
mod sniff;
mod target;
mod text;
mod tree;
mod uri;
mod validate;
