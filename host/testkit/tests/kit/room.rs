//! How many instances there are, and who makes room for whom.

use std::{collections::HashSet, sync::Arc, time::Duration};

use atoll_runtime::{Code, Compiler, Engine, Failure, Generation, Isolation, Runtime};
use atoll_testkit::Limits;

use crate::support::{Bed, Lines, ask, built, get, inputs, short, table, text, until};

/// Asks all of them at once.
async fn at_once(guest: &Arc<Generation>, times: usize, target: &'static str) -> Vec<Result<String, String>> {
    let one = || {
        let guest = guest.clone();
        tokio::spawn(async move { text(ask(&guest, target).await).await })
    };
    let asking: Vec<_> = (0..times).map(|_| one()).collect();
    futures_util::future::join_all(asking).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_come_at_once_share_an_instance() {
    let bed = Bed::new();
    for _ in 0..20 {
        let guest = bed.service("examples/mischief.wasm", Limits { concurrency: 2, instances: 1, ..Limits::default() });
        let answers = at_once(&guest, 2, "/count").await;
        let counts: HashSet<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(counts, ["1\n".to_owned(), "2\n".to_owned()].into(), "two instances each say 1");
        assert_eq!(guest.usage().instances, 1);
    }
}

/// Nobody is forgotten at the door: as one leaves, the next enters.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_lets_in_one_after_the_other() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", Limits { concurrency: 2, instances: 1, ..Limits::default() });
    let answers = at_once(&guest, 20, "/sleep?ms=10").await;
    let counts: HashSet<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts, (1..=20).map(|count| format!("{count}\n")).collect());
}

/// An empty crowd is no reason to wait for who must be alone.
#[tokio::test(flavor = "multi_thread")]
async fn who_must_be_alone_gets_an_empty_crowds_instance() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", Limits { concurrency: 2, instances: 1, ..short() });
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"));
    let alone = guest.handle(get("/count"), Isolation::Alone).await;
    assert_eq!(text(alone).await.as_deref(), Ok("1\n"), "in an instance of its own");
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"), "in another crowd");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_idle_and_the_busy_are_no_more_than_may_be() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", Limits { instances: 4, ..Limits::default() });
    assert!(at_once(&guest, 4, "/sleep?ms=400").await.iter().all(Result::is_ok));
    until("all four are idle", || guest.usage().in_flight == 0).await;
    assert_eq!(guest.usage().instances, 4);
    for _ in 0..3 {
        text(guest.handle(get("/count"), Isolation::Alone).await).await.unwrap();
    }
    assert_eq!(guest.usage().instances, 3, "who must be alone has taken an idle one's place");
}

#[tokio::test]
async fn what_is_idle_is_let_go() {
    let bed = Bed::new();
    let idle = Duration::from_millis(300);
    for concurrency in [1, 2] {
        let guest = bed.service("examples/mischief.wasm", Limits { concurrency, idle, ..Limits::default() });
        let at_rest = bed.holders();
        assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"));
        assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("2\n"), "it was kept");
        assert_eq!(guest.usage().instances, 1);
        until("it is let go", || (guest.usage().instances, bed.holders()) == (0, at_rest)).await;
        assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"));
    }
}

/// As many as there may be in all, of an engine of the test's own.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_instances_are_at_work_it_is_overloaded_and_the_idle_make_room() {
    let engine = Engine::new().unwrap();
    let runtime = Runtime::new(engine.clone(), Arc::<Lines>::default()).unwrap();
    let code: Arc<Code> = Arc::new(
        Compiler::in_process().load(&engine, std::fs::read(built("examples/mischief.wasm")).unwrap()).unwrap(),
    );
    let service = |instances, number| {
        let table = table(Limits { instances, timeout: Duration::from_secs(20), ..Limits::default() }, None, number);
        Arc::new(runtime.assemble(&"fixture".into(), inputs(code.clone(), table, &[])).unwrap())
    };
    let (many, neighbour) = (service(3000, 0), service(1, 1));
    let answers = at_once(&many, 2100, "/sleep?ms=4000").await;
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((256..=2048).contains(&served), "{served}");
    let overloaded = Err(Failure::Overloaded.to_string());
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == overloaded), "{answers:?}");
    until("all are idle", || many.usage().in_flight == 0).await;
    assert!((256..=served).contains(&many.usage().instances), "{}", many.usage().instances);
    assert_eq!(text(ask(&neighbour, "/count").await).await.as_deref(), Ok("1\n"));
    assert_eq!(many.usage().instances, 0, "the idle made room");
    assert_eq!(many.usage().traps, 0);
}
