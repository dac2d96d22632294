//! Guests that misbehave: what their client sees, exactly, and a neighbour that is served as if nothing had happened.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;

use crate::support::{
    ca::Ca,
    client::{BOTH, Client, Protocol, Reply, ask, with_body},
    guests::HELLO,
    host::{Host, Setup},
    tables,
    wait::{PROMPT, SOON, promptly, until},
};

/// This guest at `https://mischief.test/` with a second to answer, and `hello` at `https://neighbour.test/`.
async fn mischief() -> Host {
    misbehaving("mischief").await
}

async fn misbehaving(guest: &str) -> Host {
    let lines =
        "timeout = \"1s\"\nmemory = \"16MiB\"\ngit = { pages = \"read\" }\n[git.pages]\nremote = \"pages.git\"\n";
    let guests = [tables::guest("neighbour", "hello", ""), tables::guest("mischief", guest, lines)];
    let setup = Setup::new(&[tables::router(), guests.concat()].concat());
    setup.repository("pages").commit("main", &[("index.html", &"x".repeat(100_000))]);
    let routes =
        [("neighbour.test.toml", "upstream = \"neighbour\"\n"), ("mischief.test.toml", "upstream = \"mischief\"\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    neighbour(&host).await;
    host
}

async fn neighbour(host: &Host) {
    let reply = promptly("the neighbour", host.client().get("https://neighbour.test/")).await;
    assert_eq!(reply.brief(), (200, HELLO));
}

fn url(path: &str) -> String {
    format!("https://mischief.test{path}")
}

/// A misdeed, the status, and what the log says of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_gives_no_answer() {
    let host = mischief().await;
    for (path, status, logged) in [
        ("/loop", 504, "timed out"),
        ("/hang", 504, "timed out"),
        ("/sleep?ms=60000", 504, "timed out"),
        ("/trap", 502, "trapped: "),
        ("/panic", 502, "a panic with words"),
        ("/exit", 502, "trapped: "),
        ("/recurse", 502, "wasm trap: "),
        ("/memory", 502, "trapped: "),
        ("/nothing", 502, "no response: "),
    ] {
        for protocol in BOTH {
            let client = host.client();
            let (reply, ()) = tokio::join!(client.send_over(protocol, ask("GET", &url(path))), neighbour(&host));
            assert_eq!(reply.status, status, "{path} over {protocol:?}");
            // What went wrong is not a client's to know.
            let page = if status == 504 { "504 Gateway Timeout\n" } else { "502 Bad Gateway\n" };
            assert_eq!(reply.text(), page, "{path}");
        }
        let told = |text: &str| text.lines().any(|line| line.contains(logged) && !line.contains('\u{1b}'));
        until(SOON, path, async || (told(&host.setup().log()) || told(&host.setup().access_log())).then_some(())).await;
    }
    let traps = host.component("mischief").await["traps"].as_u64().unwrap();
    assert!(traps >= 10, "{traps} traps");
    host.logged("wasm backtrace").await;
}

/// What a component may import is more than it was given: linked, and denied at the call.
#[tokio::test]
async fn what_nobody_gave_is_denied_at_the_call() {
    let host = mischief().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let connect = format!("/connect?to={}", listener.local_addr().unwrap());
    for (path, expected) in [
        (&*connect, "Permission denied (os error 2)\n"),
        ("/listen", "Permission denied (os error 2)\n"),
        ("/datagram", "Permission denied (os error 2)\n"),
        ("/resolve", "failed to lookup address information: Non-recoverable error\n"),
        ("/files", "No such file or directory (os error 44)\nNo such file or directory (os error 44)\n"),
        ("/arguments", "0\n"),
    ] {
        assert_eq!(host.client().get(&url(path)).await.brief(), (200, expected), "{path}");
    }
    assert!(listener.accept().is_err(), "it got through");
}

/// The bounds on what the host holds for a guest: the guest is told no, or dies; the host does not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_takes_what_is_the_hosts() {
    let host = mischief().await;
    let before = host.resident();
    for (path, status) in [
        ("/open-loop", 502),
        ("/readers?n=100000", 502),
        ("/fields?n=10240", 502),
        ("/fields-loop", 502),
        ("/open-loop?n=10", 200),
        ("/readers?n=10", 200),
        ("/fields?n=10", 200),
    ] {
        let (client, url) = (host.client(), url(path));
        let (reply, ()) = tokio::join!(client.get(&url), neighbour(&host));
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        let grown = host.resident().saturating_sub(before);
        assert!(grown < 128 << 20, "{path} put {} MiB beside itself", grown >> 20);
    }
}

/// It is ended though nobody waits for it any more, and nobody asks anything: the clock that interrupts guests goes on for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_nobody_waits_for_is_ended() {
    for lines in ["", "concurrency = 2\n"] {
        let host =
            Setup::new(&tables::mischief("app", &format!("instances = 1\ntimeout = \"2s\"\n{lines}"))).start().await;
        assert_eq!(host.client().get("https://localhost/loop").await.status, 504);
        let ended = async || (host.component("app").await["instances"] == 0).then_some(());
        until(SOON, "the end of its instance", ended).await;
        assert_eq!(host.client().get("https://localhost/count").await.brief(), (200, "1\n"));
    }
}

/// A body that is not whole breaks off so that the client can tell, over both protocols.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_whole_does_not_look_whole() {
    let host = mischief().await;
    // What is found out before the head has gone is refused whole.
    let refused = Some((502, "502 Bad Gateway\n"));
    for (path, answer) in [
        ("/trap-midbody", None),
        ("/error-midbody", refused),
        ("/stuck-body", None),
        ("/wrong-length", refused),
        ("/too-long", refused),
    ] {
        for protocol in BOTH {
            let mut connection = host.client().connect("mischief.test", protocol).await;
            let reply = connection.try_send(ask("GET", &url(path))).await;
            assert_eq!(reply.as_ref().ok().map(Reply::brief), answer, "{path} over {protocol:?}");
            neighbour(&host).await;
        }
    }
}

/// Of WASI 0.2 no less: its statuses, or that it breaks off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_of_wasi_0_2_that_misbehaves() {
    let host = misbehaving("mischief_p2").await;
    let refused = Some((502, "502 Bad Gateway\n"));
    let late = Some((504, "504 Gateway Timeout\n"));
    for (path, answer) in [
        ("/", Some((200, "some of the body\n"))),
        ("/loop", late),
        ("/sleep", late),
        ("/trap", refused),
        ("/nothing", refused),
        ("/error", refused),
        ("/wrong-length", refused),
        ("/trap-midbody", None),
        ("/loop-midbody", None),
        ("/sleep-midbody", None),
        ("/unfinished", None),
        ("/given-up", None),
    ] {
        for protocol in BOTH {
            let mut connection = host.client().connect("mischief.test", protocol).await;
            let (reply, ()) = tokio::join!(connection.try_send(ask("GET", &url(path))), neighbour(&host));
            assert_eq!(reply.as_ref().ok().map(Reply::brief), answer, "{path} over {protocol:?}");
        }
    }
}

/// What HTTP has no form for never reaches a client.
#[tokio::test]
async fn an_answer_that_is_no_answer() {
    let host = mischief().await;
    for (path, status) in [
        ("/status?code=999", 502),
        ("/status?code=99", 502),
        ("/status?code=101", 502),
        ("/status?code=0", 502),
        ("/bad-length", 502),
        ("/two-lengths", 502),
        ("/bad-field", 502),
        ("/bad-value", 502),
        ("/hop-by-hop", 502),
        ("/status?code=418", 418),
    ] {
        for protocol in BOTH {
            let client = host.client();
            let (reply, ()) = tokio::join!(client.send_over(protocol, ask("GET", &url(path))), neighbour(&host));
            assert_eq!(reply.status, status, "{path} over {protocol:?}");
            for name in ["x-a", "x-b", "x-gone", "bad name"] {
                assert!(!reply.fields.iter().any(|(field, _)| field == name), "{path}: {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_logs_without_end_is_heard_in_part() {
    let host = mischief().await;
    assert_eq!(host.client().get(&url("/log?line=a%1b[2Jb&error=c")).await.status, 200);
    let line = host.logged("[2Jb").await;
    assert!(line.contains("mischief") && line.contains("\\u{1b}"), "named and escaped: {line:?}");
    let client = host.client();
    let flood = url("/log-flood");
    let (reply, ()) = tokio::join!(client.get(&flood), neighbour(&host));
    assert_eq!(reply.status, 504);
    neighbour(&host).await;
    let size = host.setup().log().len();
    assert!(size < 1 << 20, "{size} bytes");
}

/// A guest that is killed takes one request with it: the next one has an instance of its own.
#[tokio::test]
async fn a_trap_costs_one_request() {
    let host = mischief().await;
    let mut connection = host.client().connect("mischief.test", Protocol::Http1).await;
    for _ in 0..10 {
        assert_eq!(connection.send(ask("GET", &url("/trap"))).await.status, 502);
        assert_eq!(connection.send(ask("GET", &url("/count"))).await.brief(), (200, "1\n"));
    }
    assert_eq!(host.component("mischief").await["traps"], 10);
}

/// One request an instance at a time, unless the table says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_carries_as_many_requests_as_its_table_says() {
    for (lines, expected) in [("", ["1\n", "1\n"]), ("concurrency = 2\ninstances = 1\n", ["1\n", "2\n"])] {
        let host = Setup::new(&tables::mischief("mischief", lines)).start().await;
        let mut asked = Vec::new();
        for each in 0..2 {
            let client = host.client();
            // Not the same target: who asks for what is being asked for waits for that.
            let url = format!("https://localhost/sleep?ms=500&{each}");
            asked.push(tokio::spawn(async move { client.get(&url).await }));
        }
        let mut seen = Vec::new();
        for asked in asked {
            seen.push(asked.await.unwrap().text().to_owned());
        }
        seen.sort();
        assert_eq!(seen, expected, "{lines:?}");
    }
}

/// What a client began is its own until the guest is done with it, whether it still waits for it or not; and whatever two
/// clients do, a third that has nothing under way is served as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_give_up_have_their_part_and_no_more() {
    let lines = "concurrency = 4\ninstances = 1\ntimeout = \"30s\"\n";
    let host = Setup::new(&tables::mischief("mischief", lines)).start().await;
    let from = |last: u8| host.client().connecting_from([127, 0, 0, last].into());
    let sleep = |last: u8, each: u32| {
        let client = from(last);
        tokio::spawn(async move { client.get(&format!("https://localhost/sleep?ms=20000&{last}.{each}")).await.status })
    };
    let mut counted = 0;
    // The instance numbers what it is asked: each time one more is asked that nobody else asks.
    let mut third = async |before: u32| {
        let all_begun = until(SOON, "all that may begin", async || {
            counted += 1;
            let begun = Instant::now();
            let reply = from(4).get(&format!("https://localhost/count?{counted}")).await;
            assert!(reply.status == 200 && begun.elapsed() < PROMPT, "{reply:?} after {:?}", begun.elapsed());
            (reply.text() == format!("{}\n", before + counted)).then_some(())
        });
        all_begun.await;
    };
    let given_up = [sleep(2, 0), sleep(2, 1)];
    third(2).await;
    given_up.iter().for_each(tokio::task::JoinHandle::abort);
    let waiting = [sleep(3, 0), sleep(3, 1)];
    third(3).await;
    assert_eq!(sleep(2, 2).await.unwrap(), 503);
    third(3).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// With four instances and a hundred clients that read 1 KiB a second, a small page is there at once: the host's own bodies
/// hold no instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_hold_no_instance() {
    let setup = Setup::new(&format!("{}instances = 4\n", tables::site("site")));
    let site = setup.repository("site");
    site.commit("main", &[("large.bin", &"x".repeat(10 << 20)), ("small.txt", "small")]);
    let host = setup.start().await;
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut connection = host.client().narrow().connect("localhost", BOTH[number % 2]).await;
        let response = connection.open(ask("GET", "https://localhost/large.bin")).await.unwrap();
        assert_eq!(response.status(), 200);
        readers.spawn(async move {
            let (_connection, mut body) = (connection, response.into_body());
            loop {
                let frame = body.frame().await.expect("10 MiB take hours").expect("it goes on");
                let length = u32::try_from(frame.into_data().expect("no trailers").len()).unwrap();
                tokio::time::sleep(Duration::from_secs(1) * length / 1024).await;
            }
        });
    }
    for turn in 0..20 {
        let begun = Instant::now();
        let misses = host.component("site").await["misses"].as_u64().unwrap();
        assert_eq!(host.client().get("https://localhost/small.txt").await.brief(), (200, "small"));
        // What is remembered would say nothing.
        assert_eq!(host.client().get(&format!("https://localhost/nothing/{turn}")).await.status, 404);
        assert!(host.component("site").await["misses"].as_u64().unwrap() > misses);
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    }
    assert!(readers.try_join_next().is_none(), "all of them read on");
}

/// A router that is wrong costs the requests that it was asked about; a decision that is remembered goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_misbehaves() {
    let setup = Setup::new(
        &[
            "[[certificate]]\nchain = \"all.pem\"\nkey = \"all.key\"\n",
            &tables::guest("app", "hello", ""),
            &tables::guest("router", "router_mischief", "timeout = \"1s\"\ngit = { routes = \"read\" }\n"),
            "[git.routes]\nremote = \"routes.git\"\n",
        ]
        .concat(),
    );
    setup.repository("routes").commit("main", &[("x", "y")]);
    let ca = Ca::new("test");
    ca.issue(&["*.all.test"]).write(&setup.path(""), "all");
    let host = setup.start().await;
    let client = Client::new(host.https(), ca.pem());
    assert_eq!(client.get("https://nothing.all.test/").await.brief(), (200, HELLO));
    let mut unexpected = Vec::new();
    for (name, status) in [
        ("loop", 504),
        ("memory", 500),
        ("recurse", 500),
        ("trap", 500),
        ("panic", 500),
        ("flood", 504),
        ("unknown", 500),
        ("itself", 500),
        ("crlf", 500),
        ("slashes", 500),
        ("backslash", 500),
        ("empty", 500),
        ("status", 500),
        ("refuse", 418),
        ("refuse-ok", 500),
        ("strip", 200),
        ("add", 500),
        ("field-name", 500),
        ("field-value", 500),
        ("field-host", 500),
        ("field-length", 500),
        ("fields", 500),
        ("no-such-misdeed", 404),
    ] {
        for protocol in BOTH {
            let remembered = client.clone();
            let request = ask("GET", &format!("https://{name}.all.test/"));
            let (wrong, right) =
                tokio::join!(client.send_over(protocol, request), remembered.get("https://nothing.all.test/"));
            if wrong.status != status {
                unexpected.push(format!("{name} over {protocol:?}: {}, and not {status}", wrong.status));
            }
            for field in ["set-cookie", "location", "x-b"] {
                assert_eq!(wrong.field(field), None, "{name}");
            }
            assert_eq!(right.brief(), (200, HELLO), "{name} over {protocol:?}");
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

/// A component that never gets as far as serving does not stop the start; it is tried again, later and later.
#[tokio::test]
async fn a_component_that_never_starts_is_tried_again_with_growing_delays() {
    let guests = [tables::guest("neighbour", "hello", ""), tables::guest("never", "trap_at_start", "")];
    let setup = Setup::new(&[tables::router(), guests.concat()].concat());
    let routes = [("neighbour.test.toml", "upstream = \"neighbour\"\n"), ("never.test.toml", "upstream = \"never\"\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    let ready = host.logged("ready").await;
    // Nothing is offered to open: no route has the name of this machine.
    assert_eq!(ready, "ready, without never");
    neighbour(&host).await;
    let reply = host.client().get("https://never.test/").await;
    assert_eq!(reply.status, 503);
    assert!(reply.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{reply:?}");
    let error = host.component("never").await["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("trapped at its start")), "{error}");
    let tries = || {
        host.setup()
            .log()
            .lines()
            .filter(|line| line.contains("never") && line.contains("trapped at its start"))
            .count()
    };
    until(SOON, "a second try", async || (tries() >= 2).then_some(())).await;
    // After one second, five, and then thirty: a second each time would be the seventh by now.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(tries(), 3);
}

/// A large upload to a guest that does not read it is answered, and holds nothing.
#[tokio::test]
async fn an_upload_that_nobody_reads() {
    let host = mischief().await;
    let body = vec![0; 4 << 20];
    for protocol in BOTH {
        let mut connection = host.client().connect("mischief.test", protocol).await;
        let reply = connection.send(with_body("POST", &url("/status?code=201"), &[], body.clone())).await;
        assert_eq!(reply.brief(), (201, "a status\n"), "{protocol:?}");
        neighbour(&host).await;
    }
}

/// An upload goes through a guest as it is, at its own pace.
#[tokio::test]
async fn an_upload_comes_back_whole() {
    let host = mischief().await;
    let body: Vec<u8> =
        (0..3_u32 << 20).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    for path in ["/echo", "/copy"] {
        for protocol in BOTH {
            let request = with_body("POST", &url(path), &[], body.clone());
            let reply = host.client().send_over(protocol, request).await;
            assert!(reply.status == 200 && reply.body == body, "{path} over {protocol:?}: {} bytes", reply.body.len());
        }
    }
}
