//! What a router decides, and that a decision depends on what was asked and nothing else.

use std::net::{IpAddr, Ipv6Addr};

use atoll_testkit::{Decision, Failure, FieldChange, Limits, Request, Tree, World};

use crate::support::{component, fixture, short};

fn mischief() -> atoll_testkit::Guest {
    within(Limits::default())
}

fn within(limits: Limits) -> atoll_testkit::Guest {
    let routes = Tree::new().revision("5ca1ab1e").committed(77);
    fixture("router_mischief").given(World::new().branch("routes", routes).service("site").limits(limits)).unwrap()
}

/// What `router_mischief` decided by.
fn decided(decision: &Decision) -> String {
    let Decision::Forward(to) = decision else { return format!("{decision:?}") };
    let [FieldChange::Set(name, value)] = &*to.request_fields else { return format!("{decision:?}") };
    assert_eq!((&*to.upstream, name.as_str()), ("site", "x-decided"));
    value.to_str().unwrap().into()
}

#[test]
fn a_decision_is_by_what_was_asked() {
    let router = mischief();
    let base = || Request::get("/private/x?q=1").field("x-color", "red").field("cookie", "a=b");
    let other: IpAddr = Ipv6Addr::LOCALHOST.into();
    for (name, change, first, second) in [
        ("field.test", Request::get("/").field("x-color", "blue"), "red", "blue"),
        ("cookie.test", Request::get("/").field("cookie", "a=c"), "a=b", "a=c"),
        ("client.test", Request::get("/").client(other), "127.0.0.1", "::1"),
        ("scheme.test", Request::get("/").scheme("http"), "https", "http"),
        ("method.test", Request::new("POST", "/"), "GET", "POST"),
        ("path.test", Request::get("/public"), "/private/x", "/public"),
        ("under.test", Request::get("/privately"), "private", "public"),
        ("query.test", Request::get("/private/x"), "q=1", "none"),
    ] {
        for _ in 0..2 {
            assert_eq!(decided(&router.route(&base().authority(name)).unwrap()), first, "{name}");
            assert_eq!(decided(&router.route(&change.clone().authority(name)).unwrap()), second, "{name}");
        }
    }
}

#[test]
fn a_router_sees_no_world() {
    let first = mischief();
    let decide = |name: &str| decided(&first.route(&Request::get("/").authority(name)).unwrap());
    assert_eq!(decide("clock.test"), "Ok(77s) 0ns");
    assert_eq!(decide("sleep.test"), "slept");
    assert_eq!(decide("environment.test"), "0");
    assert_eq!(decide("revision.test"), "5ca1ab1e");
    let again = mischief().route(&Request::get("/").authority("random.test")).unwrap();
    assert_eq!(decide("random.test"), decided(&again));
}

#[test]
fn what_is_no_decision_is_refused() {
    let router = mischief();
    for (name, words) in [
        ("unknown.test", "bad answer: there is no upstream \"nobody\""),
        ("itself.test", "bad answer: there is no upstream \"router\""),
        ("crlf.test", "bad answer: \"/x\\r\\nSet-Cookie: stolen=1\" is no location"),
        ("slashes.test", "bad answer: \"//evil.test/\" is no location"),
        ("backslash.test", "bad answer: \"/\\evil.test/\" is no location"),
        ("empty.test", "bad answer: \"\" is no location"),
        ("status.test", "bad answer: 200 is no status of a redirect"),
        ("refuse-ok.test", "bad answer: 200 is no status of a refusal"),
        ("add.test", "bad answer: \"http://evil.test/\" is no prefix of a path"),
        ("field-name.test", "bad answer: \"bad name\" is no field that a decision may change"),
        ("field-value.test", "bad answer: \"x\\r\\nx-b: y\" is no value of a field"),
        ("field-host.test", "bad answer: \"host\" is no field that a decision may change"),
        ("field-length.test", "bad answer: \"content-length\" is no field that a decision may change"),
    ] {
        let refused = router.route(&Request::get("/").authority(name)).unwrap_err();
        assert_eq!(refused.to_string(), words, "{name}");
        assert_eq!(router.log().last().map(String::as_str), Some(words), "{name}");
        assert_eq!(decided(&router.route(&Request::get("/").authority("nothing.test")).unwrap()), "");
    }
    for (name, part) in [
        ("memory.test", "wasm trap: wasm `unreachable` instruction executed"),
        ("recurse.test", "wasm trap: out of bounds memory access"),
        ("trap.test", "wasm trap: wasm `unreachable` instruction executed"),
        ("panic.test", "wasm trap: wasm `unreachable` instruction executed"),
        ("fields.test", ""),
    ] {
        let refused = router.route(&Request::get("/").authority(name)).unwrap_err();
        let atoll_testkit::Error::Failed(Failure::Trapped(words)) = &refused else { panic!("{name}: {refused}") };
        assert!(words.contains(part), "{name}: {words}");
    }
    let teapot = router.route(&Request::get("/").authority("refuse.test")).unwrap();
    assert_eq!(format!("{teapot:?}"), "Refuse { status: 418, reason: \"a teapot\\\\r\\\\nand a second line\" }");
}

#[test]
fn a_router_that_ends_in_nothing_costs_its_request() {
    let router = within(short());
    for name in ["loop.test", "flood.test"] {
        let timed_out = router.route(&Request::get("/").authority(name)).unwrap_err();
        assert_eq!(timed_out.to_string(), "timed out", "{name}");
        assert_eq!(router.log().last().map(String::as_str), Some("timed out"), "{name}");
        assert_eq!(decided(&router.route(&Request::get("/").authority("nothing.test")).unwrap()), "");
    }
}

#[test]
fn a_router_in_twenty_lines_sends_every_name_to_one_upstream() {
    let router = fixture("router_one").given(World::new().service("hello")).unwrap();
    for name in ["a.test", "b.test"] {
        let decision = router.route(&Request::get("/x").authority(name)).unwrap();
        let Decision::Forward(to) = &*decision else { panic!("{decision:?}") };
        assert_eq!(to.upstream, "hello");
    }
}

#[test]
fn our_router_decides_and_validates() {
    let routes = Tree::new()
        .file("a.test.toml", "upstream = \"site\"\n[[path]]\nprefix = \"/api\"\nupstream = \"app\"\nstrip = true\n");
    let world = World::new().service("site").upstream("app");
    let router = component("router").given(world.clone().branch("routes", routes)).unwrap();
    let decision = router.route(&Request::get("/api/x").authority("a.test")).unwrap();
    let Decision::Forward(to) = &*decision else { panic!("{decision:?}") };
    assert_eq!((&*to.upstream, to.strip.as_deref(), to.add.as_deref()), ("app", Some("/api"), None));
    assert_eq!(router.validate().unwrap(), []);

    let broken = Tree::new().file("a.test.toml", "upstream = \"sight\"\n");
    let problems = component("router").given(world.branch("routes", broken)).unwrap().validate().unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].file.as_deref(), problems[0].line), (Some("a.test.toml"), Some(1)));
}
