//! The router: decides where each request goes, by the route files of its `routes` binding. It alone knows their format.
//! It reads the file of the name that it is asked about and no other, and it keeps nothing between two decisions.
//!
//! `guest` alone touches bindings; the rest is plain Rust, tested natively.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(not(any(target_arch = "wasm32", test)), allow(dead_code, reason = "natively, the tests alone use it"))]

extern crate alloc;

mod decide;
mod fields;
mod following;
#[cfg(all(any(test, fuzzing), not(target_arch = "wasm32")))]
pub mod fuzzing;
#[cfg(target_arch = "wasm32")]
mod guest;
mod location;
mod name;
mod nearest;
mod prefix;
mod problem;
mod punycode;
mod reader;
mod route_file;
mod tree;
mod validate;
