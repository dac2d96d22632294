//! What a guest needs in place of the standard library, so that its imports are its world and nothing else: std's panics
//! alone bring in WASI's environment, streams and exit. It must never print, and never know what the guest does.
//!
//! Natively it is empty: there the guests' modules are tested with std.
#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(target_arch = "wasm32")]
mod memory;

/// A panic is a trap; the host logs it with the names of the functions that led there.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
