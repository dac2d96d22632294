//! A service as anybody would write it: one greeting, whatever is asked.
#![cfg(target_arch = "wasm32")]

use guests::exports::wasi::http::handler::Guest;
use guests::wasi::http::types::{ErrorCode, Request, Response};

struct Hello;

guests::export!(Hello);

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        guests::text(200, &[("content-type", "text/plain")], "Hello from a component\n")
    }
}
