//! A service of WASI 0.2, as its languages' tools make them.
#![cfg(target_arch = "wasm32")]

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let fields = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())]).expect("a valid field");
        let response = OutgoingResponse::new(fields);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(b"Hello from a component of WASI 0.2\n").expect("a client that listens");
        drop(stream);
        OutgoingBody::finish(body, None).expect("a body without a length");
    }
}
