//! A request of WASI 0.2 to somebody outside, who is the same each time.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

/// What comes of a request to somebody outside: the status, or the error.
pub(crate) fn outbound() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Https)).expect("a scheme");
    request.set_authority(Some("api.example.org")).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let answer = outgoing_handler::handle(request, None).and_then(|answer| {
        answer.subscribe().block();
        answer.get().expect("it is there").expect("it is taken once")
    });
    answer.map_or_else(|code| format!("{code:?}"), |response| response.status().to_string())
}
