//! A service that never passes its proof: it finds two problems in whatever it is given.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use exports::atoll::host::validation::{self, Problem};
use exports::wasi::http::handler;
use wasi::http::types::{ErrorCode, Request, Response};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package atoll:fixtures;
        world invalid {
            import wasi:http/types@0.3.0;
            export wasi:http/handler@0.3.0;
            export atoll:host/validation@0.1.0;
        }
    ",
    world: "atoll:fixtures/invalid",
    generate_all,
});

struct Invalid;

export!(Invalid);

impl validation::Guest for Invalid {
    fn validate() -> Vec<Problem> {
        vec![
            Problem { file: Some("index.html".into()), line: Some(3), message: "the first problem".into() },
            Problem { file: None, line: None, message: "the second problem".into() },
        ]
    }
}

impl handler::Guest for Invalid {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        Err(ErrorCode::InternalError(Some("served without a proof".into())))
    }
}
