//! Every name goes to one upstream.

wit_bindgen::generate!({ path: "wit", world: "atoll:host/router", generate_all });

use exports::atoll::host::routing::{Action, Forwarding, Guest, Request};

struct Router;

export!(Router);

impl Guest for Router {
    fn route(_request: &Request) -> Action {
        Action::Forward(Forwarding {
            upstream: "hello".into(),
            strip: None,
            add: None,
            request_fields: vec![],
            response_fields: vec![],
        })
    }
}
