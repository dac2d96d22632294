//! A service of WASI 0.2 whose path chooses the misdeed: what `mischief` does, as far as 0.2 has other ways to do it.
#![cfg(target_arch = "wasm32")]

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use wasip2::http::types::{ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

mod outbound_p2;

struct Mischief;

wasip2::http::proxy::export!(Mischief);

impl wasip2::exports::http::incoming_handler::Guest for Mischief {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match &*path {
            "/loop" => loop {
                std::hint::black_box(());
            },
            "/sleep" => sleep(Duration::from_secs(60)),
            "/trap" => core::arch::wasm32::unreachable(),
            "/nothing" => return,
            "/error" => {
                ResponseOutparam::set(outparam, Err(ErrorCode::InternalError(Some("nothing to say".into()))));
                return;
            }
            _ => {}
        }
        let length = match &*path {
            "/wrong-length" => vec![("content-length".to_owned(), b"100".to_vec())],
            _ => Vec::new(),
        };
        let response = OutgoingResponse::new(Fields::from_list(&length).expect("valid fields"));
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(outparam, Ok(response));
        let mut stream = body.write().expect("the stream is taken once");
        // Whoever listened may be gone.
        let words = if path == "/outbound" { outbound_p2::outbound() + "\n" } else { "some of the body\n".to_owned() };
        let _ = stream.write_all(words.as_bytes()).and_then(|()| Write::flush(&mut stream));
        match &*path {
            "/loop-midbody" => loop {
                std::hint::black_box(());
            },
            "/sleep-midbody" => sleep(Duration::from_secs(60)),
            "/trap-midbody" => core::arch::wasm32::unreachable(),
            "/large" => {
                let _ = stream.write_all(&vec![b'x'; 1 << 20]);
            }
            "/clock" => println!("{:?}", std::time::SystemTime::now()),
            // It neither finishes the body nor gives it up.
            "/unfinished" => {
                std::mem::forget((stream, body));
                return;
            }
            "/given-up" => return,
            _ => {}
        }
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
