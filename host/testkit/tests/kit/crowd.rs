//! Instances that carry several requests at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use atoll_runtime::Generation;
use atoll_testkit::Limits;
use http_body_util::BodyExt as _;

use crate::support::{Bed, ask, short, text, until};

fn crowd(bed: &Bed) -> Arc<Generation> {
    bed.service("examples/mischief.wasm", Limits { concurrency: 4, ..short() })
}

fn asking(guest: &Arc<Generation>, target: &'static str) -> tokio::task::JoinHandle<Result<String, String>> {
    let guest = guest.clone();
    tokio::spawn(async move { text(ask(&guest, target).await).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_carries_as_many_as_it_may() {
    let bed = Bed::new();
    let guest = crowd(&bed);
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"));
    let start = Instant::now();
    let slept: Vec<_> = (0..4).map(|_| asking(&guest, "/sleep?ms=100")).collect();
    let mut places = Vec::new();
    for one in slept {
        places.push(one.await.unwrap().unwrap());
    }
    places.sort();
    assert_eq!(places, ["2\n", "3\n", "4\n", "5\n"]);
    assert!(start.elapsed() < Duration::from_millis(300), "one after the other: {:?}", start.elapsed());
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("6\n"));

    let slept: Vec<_> = (0..5).map(|_| asking(&guest, "/sleep?ms=100")).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(guest.usage().instances, 2, "the fifth has an instance of its own");
    for one in slept {
        assert!(one.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_what_its_instance_carried_and_nothing_else() {
    let bed = Bed::new();
    let guest = crowd(&bed);
    let mut body = ask(&guest, "/slow-body?ms=20&n=100").await.unwrap().response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().data_ref().map(|data| &data[..]), Some(&b"line 0\n"[..]));
    let asleep = asking(&guest, "/sleep?ms=150");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ended = Err("no response: one of the requests in its instance has ended it".into());
    assert_eq!(text(ask(&guest, "/trap").await).await, ended);
    assert_eq!(asleep.await.unwrap(), ended);
    let broken = body.collect().await.err().map(|error| error.to_string());
    assert_eq!(broken.as_deref(), Some("the component ended in the middle of the body"));
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"));
    assert_eq!(guest.usage().traps, 1);
    let log = bed.lines.all();
    let trap = log.iter().filter(|line| line.contains("wasm trap: wasm `unreachable` instruction executed"));
    assert_eq!(trap.count(), 1, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_ends_with_its_time() {
    let bed = Bed::new();
    let guest = crowd(&bed);
    let at_rest = bed.holders();
    assert_eq!(text(ask(&guest, "/loop").await).await, Err("timed out".into()));
    assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"), "in another instance");
    until("the looping instance is dropped", || bed.holders() <= at_rest + 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_does_not_run_for_ever() {
    for (target, after_the_head) in [("/loop", false), ("/sleep?ms=60000", false), ("/slow-body?ms=5000", true)] {
        let bed = Bed::new();
        let guest = crowd(&bed);
        let at_rest = bed.holders();
        let gone = asking(&guest, target);
        if after_the_head {
            let late = "the component gave no more of the body in time";
            assert_eq!(gone.await.unwrap(), Err(late.into()), "{target}");
            assert!(bed.lines.all().iter().any(|line| line.ends_with(late)), "{:?}", bed.lines.all());
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            gone.abort();
        }
        until(target, || bed.holders() == at_rest).await;
        assert_eq!(text(ask(&guest, "/count").await).await.as_deref(), Ok("1\n"), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_end_in_time_where_one_does_not() {
    let bed = Bed::new();
    let guest = crowd(&bed);
    let stuck = asking(&guest, "/sleep?ms=60000");
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Its time is not over when that of the other is.
    assert_eq!(asking(&guest, "/sleep?ms=150").await.unwrap().as_deref(), Ok("2\n"));
    assert_eq!(stuck.await.unwrap(), Err("timed out".into()));
}
