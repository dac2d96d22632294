//! What a service is given and what comes back, as an author's test would have it.

use atoll_testkit::{Canned, Component, Error, Request, Tree, World};

use crate::support::fixture;

fn mischief(world: World) -> atoll_testkit::Guest {
    fixture("mischief").given(world.branch("pages", Tree::new().file("index.html", "<h1>x</h1>"))).unwrap()
}

#[test]
fn a_service_that_needs_nothing_answers() {
    let hello = fixture("hello").given(World::new());
    // It imports `repository` only where the tool leaves it in.
    let hello = hello.unwrap_or_else(|_| fixture("hello").given(World::new().branch("pages", Tree::new())).unwrap());
    let reply = hello.handle(&Request::get("/")).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("content-type"), Some("text/plain"));
    assert_eq!(reply.text(), "Hello from a component\n");
    assert!(!reply.marked);
    assert_eq!(hello.log(), [""; 0]);
}

#[test]
fn a_service_of_wasi_0_2_answers() {
    let hello = fixture("hello_p2").given(World::new()).unwrap();
    for _ in 0..3 {
        let reply = hello.handle(&Request::get("/")).unwrap();
        assert_eq!((reply.status.as_u16(), &*reply.text()), (200, "Hello from a component of WASI 0.2\n"));
    }
}

#[test]
fn a_request_arrives_as_it_was_made() {
    let guest = mischief(World::new());
    let request = Request::new("DELETE", "/head?a=1").scheme("http").authority("a.test:8080").field("x-a", "1");
    let reply = guest.handle(&request.field("x-a", "2")).unwrap();
    assert_eq!(
        reply.text(),
        "Method::Delete /head?a=1\nscheme: Some(Scheme::Http)\nauthority: a.test:8080\nx-a: 1\nx-a: 2\n"
    );
}

#[test]
fn bodies_pass_whole() {
    let guest = mischief(World::new());
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for target in ["/echo", "/copy"] {
        let reply = guest.handle(&Request::new("POST", target).body(body.clone())).unwrap();
        assert_eq!((reply.broke_off, reply.body == body), (None, true), "{target}");
    }
}

#[test]
fn a_branchs_file_is_handed_on_without_holding_the_instance() {
    let guest = mischief(World::new());
    let reply = guest.handle(&Request::get("/read?path=index.html")).unwrap();
    assert_eq!((&*reply.text(), reply.marked), ("<h1>x</h1>", false));
    let gone = guest.handle(&Request::get("/read?path=gone")).unwrap_err().to_string();
    assert_eq!(gone, "no response: internal-error: the host refused Error::NotFound");
    let denied = guest.handle(&Request::get("/read?from=secrets")).unwrap_err().to_string();
    assert_eq!(denied, "no response: internal-error: the host refused Error::Denied");
    let told = "asked for secrets, which is not granted; add to [component.mischief]: git = { secrets = \"read\" }";
    assert!(guest.log().iter().any(|line| line == told), "{:?}", guest.log());
}

#[test]
fn an_instance_is_used_again_but_by_what_may_change_its_mind() {
    let guest = mischief(World::new());
    let count = |request: Request| guest.handle(&request).unwrap().text();
    assert_eq!(count(Request::get("/count")), "1\n");
    assert_eq!(count(Request::get("/count")), "2\n");
    assert_eq!(count(Request::new("POST", "/count")), "1\n");
    assert_eq!(count(Request::get("/count").field("authorization", "Basic x")), "1\n");
    assert_eq!(count(Request::get("/count")), "3\n");
}

#[test]
fn the_clock_stands_where_it_was_set_and_marks_the_answer() {
    for (target, text) in
        [("/clock", "1234567890 2\n"), ("/clock-p2", "SystemTime { tv_sec: 1234567890, tv_nsec: 0 }\n")]
    {
        let guest = mischief(World::new().clock(1_234_567_890));
        let before = guest.handle(&Request::get("/")).unwrap();
        let reply = guest.handle(&Request::get(target)).unwrap();
        assert_eq!((before.marked, reply.marked, &*reply.text()), (false, true, text));
    }
    assert!(mischief(World::new()).handle(&Request::get("/random")).unwrap().marked);
}

#[test]
fn the_environment_is_what_was_given() {
    let reply = mischief(World::new().env("THEME", "dark").env("A", "b")).handle(&Request::get("/env")).unwrap();
    assert_eq!((&*reply.text(), reply.marked), ("A=b\nTHEME=dark\n", false));
}

#[test]
fn outside_is_what_was_written_down() {
    let world = World::new().outbound("https://api.example.org", "/v1", Canned::new(200).body("{}")).outbound(
        "https://api.example.org",
        "/v1?page=2",
        Canned::new(404).field("x-a", "1").body("no page"),
    );
    let guest = mischief(world);
    for (url, text, logged) in [
        ("https://api.example.org/v1", "200\n{}", None),
        ("https://api.example.org/v1?page=1", "200\n{}", None),
        ("https://api.example.org/v1?page=2", "404\nno page", None),
        ("https://api.example.org:443/v1", "200\n{}", None),
        (
            "https://api.example.org/v2",
            "ErrorCode::HttpRequestDenied\n",
            Some("denied: GET https://api.example.org/v2: the test has no answer for it"),
        ),
        (
            "http://api.example.org/v1",
            "ErrorCode::HttpRequestDenied\n",
            Some("denied: GET http://api.example.org/v1: the test has no answer for it"),
        ),
        (
            "https://127.0.0.1/v1",
            "ErrorCode::HttpRequestDenied\n",
            Some("denied: GET https://127.0.0.1/v1: the test has no answer for it"),
        ),
    ] {
        let reply = guest.handle(&Request::get(&format!("/outbound?url={}", url.replace('?', "%3f")))).unwrap();
        assert_eq!((&*reply.text(), reply.marked), (text, true), "{url}");
        // What the host says beside it is the host's to test.
        assert_eq!(
            guest.log().into_iter().take(1).collect::<Vec<_>>(),
            logged.into_iter().collect::<Vec<_>>(),
            "{url}"
        );
        let sent = guest.sent();
        assert_eq!(sent.iter().map(|sent| sent.uri.to_string()).collect::<Vec<_>>(), [url]);
    }
}

#[test]
fn nothing_is_granted_by_itself() {
    let denied = mischief(World::new()).handle(&Request::get("/outbound?url=https://a.test/")).unwrap();
    assert_eq!(denied.text(), "ErrorCode::HttpRequestDenied\n");
    let refused = fixture("mischief").given(World::new()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "imports atoll:host/repository@0.1.0, which is not granted; add to [component.mischief]: git = { NAME = \"read\" }, \
         NAME being a [git.NAME] of the manifest"
    );
}

#[test]
fn what_is_no_component_is_told() {
    for (bytes, words) in [
        (&b"hello"[..], "x is not a WebAssembly component: it does not begin with \\0asm"),
        (b"\0asm\x01\0\0\0", "x is a core module, not a component; build it for the target wasm32-wasip2"),
    ] {
        assert_eq!(Component::from_bytes("x", bytes).err().map(|error| error.to_string()), Some(words.into()));
    }
    let truncated = Component::from_bytes("x", &b"\0asm\x0d\0\x01\0\x07"[..]).err().map(|error| error.to_string());
    assert_eq!(
        truncated.as_deref(),
        Some("x can't be compiled: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x9)")
    );
    let empty = Component::from_bytes("x", &b"\0asm\x0d\0\x01\0"[..]).unwrap();
    assert_eq!(
        empty.given(World::new()).unwrap_err().to_string(),
        "exports nothing that this host calls: no atoll:host/routing, wasi:http/handler, wasi:http/incoming-handler or \
         atoll:host/agent"
    );
    let missing = Component::load("no/such.wasm").err().map(|error| error.to_string());
    assert_eq!(missing.as_deref(), Some("can't read no/such.wasm: No such file or directory (os error 2)"));
}

#[test]
fn a_world_that_cannot_be_is_told() {
    let given = |world: World| fixture("mischief").given(world).err().map(|error| error.to_string());
    for (world, words) in [
        (World::new().branch("pages", Tree::new().file("../x", "")), "\"../x\" is no path of a file in a Git tree"),
        (
            World::new().outbound("api.example.org", "/", Canned::new(200)),
            "\"api.example.org\" is no origin: write https://NAME or https://NAME:PORT",
        ),
        (
            World::new().outbound("https://a.test", "/x", Canned::new(99)),
            "https://a.test/x: its answer is no HTTP response",
        ),
    ] {
        assert_eq!(given(world).as_deref(), Some(words));
    }
}

#[test]
fn only_a_component_that_validates_is_asked_to() {
    let Err(Error::NotExported(words)) = mischief(World::new()).validate() else { panic!("it was asked") };
    assert_eq!(words, "mischief does not export atoll:host/validation@0.1.0");
    let invalid = fixture("invalid").given(World::new()).unwrap();
    let problems: Vec<String> = invalid.validate().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["index.html:3: the first problem", "the second problem"]);
    assert_eq!(invalid.prove().unwrap_err().to_string(), "index.html:3: the first problem; the second problem");
}

#[test]
fn of_many_problems_a_hundred_are_kept_and_of_each_a_kibibyte() {
    let many = fixture("invalid").given(World::new().env("PROBLEMS", "150")).unwrap();
    let words = many.prove().unwrap_err().to_string();
    let kept: Vec<&str> = words.split("; ").collect();
    assert_eq!((kept.len(), kept[100]), (101, "and 50 more"));
    // Of 1,024 bytes the first five are the escape code.
    let shown = format!("\\u{{1b}}[31m{}", "x".repeat(1024 - 5));
    for (line, problem) in (1..).zip(&kept[..100]) {
        assert_eq!(*problem, format!("index.html:{line}: {shown}"));
    }
}

/// What it may do later, it may not while it looks at what it was given.
#[test]
fn nothing_goes_out_while_it_validates() {
    let world = World::new().outbound("https://api.example.org", "/", Canned::new(200)).env("SEND", "1");
    let sending = fixture("invalid").given(world).unwrap();
    assert_eq!(sending.prove().unwrap_err().to_string(), "ErrorCode::HttpRequestDenied");
    assert!(sending.sent().is_empty());
}

#[test]
fn a_probe_must_be_answered() {
    for (probe, proved) in [
        ("/", Ok(())),
        ("/status?code=399", Ok(())),
        ("/status?code=404", Err("probe /status?code=404: 404 Not Found".to_owned())),
        ("/nothing", Err("probe /nothing: no response: internal-error: nothing to say\\nand a second line".into())),
    ] {
        let found = mischief(World::new().probe(probe)).prove();
        // It is tried again by itself.
        assert!(found.as_ref().err().is_none_or(|disproof| disproof.passing), "{probe}");
        assert_eq!(found.map_err(|disproof| disproof.to_string()), proved);
    }
}
