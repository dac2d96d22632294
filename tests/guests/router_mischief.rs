//! A router whose first label of the authority chooses what it does: decide by one thing of the request, or go wrong. What
//! it forwards goes to the first service component there is, with what it decided by in the field `x-decided`.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};

use atoll::host::repository::Branch;
use atoll::host::upstreams::{self, Kind};
use exports::atoll::host::routing::{Action, FieldChange, Forwarding, Guest, Redirection, Refusal, Request};

wit_bindgen::generate!({ path: "../../wit", world: "atoll:host/router", generate_all });

struct Router;

export!(Router);

/// Requests that this instance was asked about.
static ASKED: AtomicU32 = AtomicU32::new(0);

impl Guest for Router {
    fn route(request: &Request) -> Action {
        let authority = request.authority();
        match authority.split('.').next().unwrap_or("") {
            // By one thing alone.
            "nothing" => forward(""),
            "field" => forward(&first(request.field("x-color"))),
            "cookie" => forward(&first(request.field("cookie"))),
            "client" => forward(&request.client()),
            "scheme" => forward(&request.scheme()),
            "method" => forward(&request.method()),
            "path" => forward(&request.path()),
            "under" => forward(if request.under("/private") { "private" } else { "public" }),
            "query" => forward(request.query().as_deref().unwrap_or("none")),
            "revision" => {
                forward(&Branch::open("routes").map_or_else(|error| error.to_string(), |branch| branch.revision()))
            }
            // What must be the same each time.
            "clock" => forward(&format!("{:?} {:?}", SystemTime::UNIX_EPOCH.elapsed(), Instant::now().elapsed())),
            "random" => forward(&HashMap::<u8, u8>::new().hasher().hash_one(0).to_string()),
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                forward("slept")
            }
            "count" => {
                let asked = ASKED.fetch_add(1, Ordering::Relaxed) + 1;
                forward(&format!("{asked} {}", request.query().map_or(0, |_| 1)))
            }
            "environment" => forward(&format!("{}", std::env::vars().count() + std::env::args().count())),
            // What must hurt nobody else.
            "loop" => loop {
                std::hint::black_box(());
            },
            "memory" => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1_u8; 1 << 20]);
                }
            }
            "recurse" => forward(&recurse(0).to_string()),
            "trap" => core::arch::wasm32::unreachable(),
            "panic" => panic!("a router that panics"),
            "flood" => loop {
                println!("a line that nobody wants to read");
            },
            // Decisions that are none.
            "unknown" => to("nobody", vec![]),
            "itself" => to("router", vec![]),
            "crlf" => redirect(302, "/x\r\nSet-Cookie: stolen=1"),
            "slashes" => redirect(302, "//evil.test/"),
            "backslash" => redirect(302, "/\\evil.test/"),
            "empty" => redirect(302, ""),
            "status" => redirect(200, "/"),
            "refuse" => Action::Refuse(Refusal { status: 418, reason: "a teapot\r\nand a second line".into() }),
            "refuse-ok" => Action::Refuse(Refusal { status: 200, reason: "not a refusal".into() }),
            "strip" => change(|forwarding| forwarding.strip = Some("/not/there".into())),
            "add" => change(|forwarding| forwarding.add = Some("http://evil.test/".into())),
            "field-name" => to(&service(), vec![FieldChange::Set(("bad name".into(), "x".into()))]),
            "field-value" => to(&service(), vec![FieldChange::Add(("x-a".into(), "x\r\nx-b: y".into()))]),
            "field-host" => to(&service(), vec![FieldChange::Set(("host".into(), "evil.test".into()))]),
            "field-length" => to(&service(), vec![FieldChange::Set(("content-length".into(), "1".into()))]),
            "fields" => {
                let add = |n| FieldChange::Add((format!("x-{n}"), "x".repeat(1024)));
                to(&service(), (0..10_000).map(add).collect())
            }
            _ => Action::Refuse(Refusal { status: 404, reason: format!("no misdeed is called {authority}") }),
        }
    }
}

/// To the first service component, telling it `decided`.
fn forward(decided: &str) -> Action {
    to(&service(), vec![FieldChange::Set(("x-decided".into(), decided.into()))])
}

fn to(upstream: &str, request_fields: Vec<FieldChange>) -> Action {
    Action::Forward(Forwarding {
        upstream: upstream.into(),
        strip: None,
        add: None,
        request_fields,
        response_fields: vec![],
    })
}

fn change(change: impl FnOnce(&mut Forwarding)) -> Action {
    let mut forwarding =
        Forwarding { upstream: service(), strip: None, add: None, request_fields: vec![], response_fields: vec![] };
    change(&mut forwarding);
    Action::Forward(forwarding)
}

fn redirect(status: u16, location: &str) -> Action {
    Action::Redirect(Redirection { status, location: location.into() })
}

fn service() -> String {
    let service = upstreams::all().into_iter().find(|upstream| upstream.kind == Kind::Component);
    service.map(|upstream| upstream.name).unwrap_or_default()
}

fn first(values: Vec<Vec<u8>>) -> String {
    values.first().map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

#[expect(unconditional_recursion, reason = "it is what it is for")]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + room[63]
}
