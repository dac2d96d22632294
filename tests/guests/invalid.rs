//! A service that never passes its proof: it finds two problems in whatever it is given. A variable makes it do something
//! else while it looks: `PROBLEMS` finds so many, `SEND` asks somebody outside, `SLEEP` takes so many milliseconds, and
//! finds none.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use std::time::Duration;

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

mod outbound_p2;

struct Invalid;

export!(Invalid);

impl validation::Guest for Invalid {
    fn validate() -> Vec<Problem> {
        let variable = |name: &str| std::env::var(name).ok();
        if let Some(count) = variable("PROBLEMS") {
            let long = format!("\u{1b}[31m{}", "x".repeat(2000));
            return (1..=number(&count)).map(|line| problem(Some("index.html"), Some(line), &long)).collect();
        }
        if variable("SEND").is_some() {
            return vec![problem(None, None, &outbound_p2::outbound())];
        }
        if let Some(time) = variable("SLEEP") {
            std::thread::sleep(Duration::from_millis(number(&time).into()));
            return vec![];
        }
        vec![problem(Some("index.html"), Some(3), "the first problem"), problem(None, None, "the second problem")]
    }
}

fn number(word: &str) -> u32 {
    word.parse().expect("a number")
}

fn problem(file: Option<&str>, line: Option<u32>, message: &str) -> Problem {
    Problem { file: file.map(Into::into), line, message: message.into() }
}

impl handler::Guest for Invalid {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        Err(ErrorCode::InternalError(Some("served without a proof".into())))
    }
}
