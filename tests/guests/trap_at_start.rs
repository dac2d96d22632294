//! A service that traps before it can be asked anything.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "the function that a host runs at the start has a fixed name")]

use guests::exports::wasi::http::handler::Guest;
use guests::wasi::http::types::{ErrorCode, Request, Response};

struct Never;

guests::export!(Never);

impl Guest for Never {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        guests::text(200, &[], "never seen\n")
    }
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    core::arch::wasm32::unreachable();
}
