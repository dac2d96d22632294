//! What a service does wrong: what is told of it, exactly, and that the next request is answered as if nothing had been.

use std::time::{Duration, Instant};

use atoll_testkit::{Error, Failure, Limits, Reply, Request, Tree, World};

use crate::support::{fixture, short};

enum Expected {
    /// A whole body of these bytes, with this status.
    Whole(u16, &'static str),
    /// What came before it broke off, and why.
    Broken(&'static str, &'static str),
    TimedOut,
    /// A trap whose words hold this.
    Trap(&'static str),
    NoResponse(&'static str),
    BadAnswer(&'static str),
}
use Expected::{BadAnswer, Broken, NoResponse, TimedOut, Trap, Whole};

/// The misdeed, what comes of it, and a word of the log.
const MISDEEDS: &[(&str, Expected, &str)] = &[
    ("/loop", TimedOut, "timed out"),
    ("/sleep?ms=5000", TimedOut, "timed out"),
    ("/slow-body?ms=5000", Broken("", "the component gave no more of the body in time"), ""),
    (
        "/memory",
        Trap("wasm trap: wasm `unreachable` instruction executed"),
        "memory allocation of 1048576 bytes failed",
    ),
    ("/memory?mb=8", Whole(200, "8 MiB\n"), ""),
    ("/recurse", Trap("wasm trap: out of bounds memory access"), "mischief::recurse"),
    ("/open-loop?n=100", Whole(200, "100 branches\n"), ""),
    ("/open-loop", Trap("resource table has no free keys"), "no free keys"),
    ("/readers?n=10", Whole(200, "10 readers\n"), ""),
    ("/readers?n=5000", Trap("store handle limit exceeded"), ""),
    ("/fields?n=10", Whole(200, "fields\n"), ""),
    ("/fields?n=100", NoResponse("the host refused HeaderError::SizeExceeded"), ""),
    ("/trap", Trap("wasm trap: wasm `unreachable` instruction executed"), "mischief"),
    ("/panic", Trap("wasm trap: wasm `unreachable` instruction executed"), "a panic with words"),
    ("/exit", Trap("Exited with i32 exit status 1"), "exit status"),
    (
        "/nothing",
        NoResponse("internal-error: nothing to say\\nand a second line"),
        "no response: internal-error: nothing to say\\nand a second line",
    ),
    (
        "/trap-midbody",
        Broken("some of the body\n", "the component ended in the middle of the body"),
        "wasm trap: wasm `unreachable` instruction executed",
    ),
    ("/error-midbody", BadAnswer("half way"), "bad answer: "),
    ("/wrong-length", BadAnswer("the body is not as long as its content-length says"), "bad answer: "),
    ("/too-long", BadAnswer("the body is not as long as its content-length says"), "bad answer: "),
    ("/status?code=103", BadAnswer("103 is no status to end with"), "bad answer: 103 is no status to end with"),
    ("/status?code=999", NoResponse("the host refused \"the status\""), ""),
    ("/status?code=299", Whole(299, "a status\n"), ""),
    ("/bad-field", NoResponse("the host refused HeaderError::InvalidSyntax"), ""),
    ("/bad-value", NoResponse("the host refused HeaderError::InvalidSyntax"), ""),
    ("/hop-by-hop", NoResponse("the host refused HeaderError::Forbidden"), ""),
    // Last, since it uses up what may be said.
    ("/log-flood?n=1000", Whole(200, "flooded"), "line 0 that nobody wants to read"),
];

#[test]
fn a_misdeed_is_told_and_hurts_nobody_else() {
    let pages = Tree::new().file("index.html", "<h1>x</h1>");
    let within =
        |limits| fixture("mischief").given(World::new().branch("pages", pages.clone()).limits(limits)).unwrap();
    let (patient, hasty) = (within(Limits::default()), within(short()));
    for (target, expected, logged) in MISDEEDS {
        let times_out = matches!(expected, TimedOut | Broken(_, "the component gave no more of the body in time"));
        let guest = if times_out { &hasty } else { &patient };
        let answer = guest.handle(&Request::get(target));
        assert_eq!(check(&answer, expected), Ok(()), "{target}");
        let log = guest.log();
        assert!(log.iter().any(|line| line.contains(logged)) || logged.is_empty(), "{target}: {log:?}");
        let next = guest.handle(&Request::get("/")).unwrap();
        assert_eq!((next.status.as_u16(), &*next.text(), next.broke_off), (200, "mischief\n", None), "after {target}");
    }
}

/// The same of 0.2. An instance is nobody's after its request.
const MISDEEDS_OF_P2: &[(&str, Expected, &str)] = &[
    ("/loop", TimedOut, "timed out"),
    ("/sleep", TimedOut, "timed out"),
    ("/trap", Trap("wasm trap: wasm `unreachable` instruction executed"), "mischief_p2"),
    ("/nothing", NoResponse("it returned without a response"), ""),
    ("/error", NoResponse("nothing to say"), ""),
    ("/loop-midbody", Broken("some of the body\n", "the component gave no more of the body in time"), ""),
    ("/sleep-midbody", Broken("some of the body\n", "the component gave no more of the body in time"), ""),
    (
        "/trap-midbody",
        Broken("some of the body\n", "the component ended in the middle of the body"),
        "wasm trap: wasm `unreachable` instruction executed",
    ),
    ("/unfinished", Broken("some of the body\n", "the component ended in the middle of the body"), ""),
    ("/given-up", Broken("some of the body\n", ""), ""),
    ("/wrong-length", Broken("some of the body\n", ""), ""),
    ("/clock", Whole(200, "some of the body\n"), "SystemTime"),
];

#[test]
fn a_misdeed_of_wasi_0_2_is_told_and_hurts_nobody_else() {
    let guest = fixture("mischief_p2").given(World::new().limits(short())).unwrap();
    for (target, expected, logged) in MISDEEDS_OF_P2 {
        let start = Instant::now();
        let answer = guest.handle(&Request::get(target));
        assert_eq!(check(&answer, expected), Ok(()), "{target}");
        // At most the time to its answer, or to its next chunk: nothing is held on to after that.
        assert!(start.elapsed() < Duration::from_millis(380), "{target} took {:?}", start.elapsed());
        let log = guest.log();
        assert!(log.iter().any(|line| line.contains(logged)) || logged.is_empty(), "{target}: {log:?}");
        assert!(log.iter().filter(|line| line.contains("trap")).count() <= 1, "{target}: {log:?}");
        let next = guest.handle(&Request::get("/")).unwrap();
        assert_eq!((next.status.as_u16(), &*next.text(), next.broke_off), (200, "some of the body\n", None));
    }
}

fn check(answer: &Result<Reply, Error>, expected: &Expected) -> Result<(), String> {
    let failure = match (answer, expected) {
        (Ok(reply), Whole(status, body)) => {
            return match reply.broke_off.is_none() && reply.status == *status && reply.text().starts_with(body) {
                true => Ok(()),
                false => Err(format!("{reply:?}")),
            };
        }
        (Ok(reply), Broken(body, why)) => {
            let broke_off = reply.broke_off.as_deref().unwrap_or("did not break off");
            return match reply.text() == *body && broke_off.contains(why) {
                true => Ok(()),
                false => Err(format!("{reply:?}")),
            };
        }
        (Ok(reply), _) => return Err(format!("{reply:?}")),
        (Err(Error::Failed(failure)), _) => failure,
        (Err(error), _) => return Err(error.to_string()),
    };
    let right = match (failure, expected) {
        (Failure::TimedOut, TimedOut) => true,
        (Failure::Trapped(words), Trap(part)) => words.contains(part),
        (Failure::NoResponse(words), NoResponse(part)) | (Failure::BadAnswer(words), BadAnswer(part)) => {
            words.contains(part)
        }
        _ => false,
    };
    if right { Ok(()) } else { Err(failure.to_string()) }
}

#[test]
fn a_trap_tells_nothing_of_the_host() {
    let guest = fixture("mischief").given(World::new().branch("pages", Tree::new())).unwrap();
    let words = guest.handle(&Request::get("/trap")).unwrap_err().to_string();
    assert!(words.contains("wasm backtrace") && words.lines().count() < 20, "{words}");
    assert!(!words.contains("wasmtime") && !words.contains(".rs:"), "{words}");
}

#[test]
fn the_log_is_bounded_and_says_what_is_missing() {
    let guest = fixture("mischief").given(World::new().branch("pages", Tree::new())).unwrap();
    guest.handle(&Request::get("/log-flood?n=20000")).unwrap();
    let log = guest.log();
    assert!((200..1_000).contains(&log.len()), "{} lines", log.len());
    std::thread::sleep(Duration::from_millis(100));
    guest.handle(&Request::get("/log?line=here")).unwrap();
    let log = guest.log();
    assert!(log[0].ends_with("lines left out: more than 50 a second"), "{log:?}");
    assert_eq!(log[1], "here");
}

#[test]
fn what_an_answer_said_last_is_not_mixed_with_the_next() {
    let guest = fixture("mischief").given(World::new().branch("pages", Tree::new())).unwrap();
    guest.handle(&Request::get("/log?line=one&error=%1b[31mtwo")).unwrap();
    assert_eq!(guest.log(), ["one", "\\u{1b}[31mtwo"]);
    guest.handle(&Request::get("/log?line=three")).unwrap();
    assert_eq!(guest.log(), ["three"]);
}

#[test]
fn a_start_that_traps_is_told_and_tried_again_later() {
    let guest = fixture("trap_at_start").given(World::new().branch("pages", Tree::new())).unwrap();
    let disproof = guest.prove().unwrap_err();
    assert!(disproof.passing);
    assert!(disproof.to_string().starts_with("trapped at its start: "), "{disproof}");
    let asked: Vec<_> = (0..3).map(|_| guest.handle(&Request::get("/")).unwrap_err()).collect();
    assert!(matches!(asked[0], Error::Failed(Failure::Trapped(_))), "{asked:?}");
    assert!(matches!(asked[1], Error::Failed(Failure::NotServing { retry_after: 1 })), "{asked:?}");
}

#[test]
fn loops_hold_no_thread() {
    use crate::support::{Bed, ask, text};
    // One thread, and more loops than it has cores.
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bed = Bed::new();
    let limits = Limits { timeout: Duration::from_secs(1), ..Limits::default() };
    let guest = bed.service("examples/mischief.wasm", limits);
    threads.block_on(async {
        tokio::spawn(async move {
            let loops: Vec<_> = (0..4)
                .map(|_| {
                    let guest = guest.clone();
                    tokio::spawn(async move { text(ask(&guest, "/loop").await).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let start = Instant::now();
            assert_eq!(text(ask(&guest, "/").await).await.as_deref(), Ok("mischief\n"));
            assert!(start.elapsed() < Duration::from_millis(400), "it took {:?}", start.elapsed());
            for ended in loops {
                assert_eq!(ended.await.unwrap(), Err("timed out".into()));
            }
        })
        .await
        .unwrap();
    });
}

/// What a component is told of a file, and what a client is told of a body, does not depend on what the host has in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_a_slow_disk_is_read_like_any_other() {
    use http_body::Body as _;

    use crate::support::{Bed, Slow, ask, inputs, table, text};
    let (bed, tree) = (Bed::new(), Tree::new().file("index.html", "<h1>x</h1>"));
    let inputs = inputs(Bed::code("examples/mischief.wasm"), table(Limits::default(), None, 0), &[("pages", &tree)]);
    for delays in [&[][..], &[100, 100]] {
        let mut inputs = inputs.clone();
        inputs.branches.insert("pages".into(), Slow::branch(&tree, delays));
        let guest = bed.runtime.assemble(&"fixture".into(), inputs).unwrap();
        let answer = ask(&guest, "/read?path=index.html").await;
        let length = answer.as_ref().map(|answer| answer.response.body().size_hint().exact());
        assert_eq!(length.unwrap(), Some(10), "{delays:?}");
        assert_eq!(text(answer).await.unwrap(), "<h1>x</h1>");
        let nothing = text(ask(&guest, "/read?path=nothing").await).await.unwrap_err();
        assert!(nothing.contains("Error::NotFound"), "{delays:?}: {nothing}");
    }
}

/// A component that fails with each request costs the log a part of what it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_failures_is_bounded() {
    use crate::support::{Bed, ask};
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", Limits::default());
    let traps = async |count: usize| {
        for _ in 0..count {
            assert!(matches!(ask(&guest, "/trap").await, Err(Failure::Trapped(_))));
        }
    };
    traps(300).await;
    let lines = bed.lines.all();
    assert!((50..100).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.starts_with("trapped: ") || line.ends_with("left out: more than 2 a second")));
    // As soon as a line may be written: how many are left out is known when one is.
    let told = || bed.lines.all().iter().any(|line| line.ends_with("lines left out: more than 2 a second"));
    while !told() {
        traps(1).await;
    }
}
