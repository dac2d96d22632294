//! Clients that go away: what they asked for is given up, and the instance is free.

use std::{sync::Arc, time::Duration};

use atoll_runtime::Generation;
use http_body_util::BodyExt as _;

use crate::support::{Bed, ask, short, text, until};

/// Asks, and goes away: before there is an answer, or in the middle of its body.
async fn leave(guest: &Arc<Generation>, target: &str, after_the_head: bool) {
    let asking = {
        let (guest, target) = (guest.clone(), target.to_owned());
        tokio::spawn(async move { ask(&guest, &target).await })
    };
    if after_the_head {
        let mut answer = asking.await.unwrap().unwrap();
        answer.response.body_mut().frame().await.unwrap().unwrap();
    } else {
        tokio::time::sleep(Duration::from_millis(20)).await;
        asking.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_given_up() {
    for (component, target, after_the_head) in [
        ("mischief", "/loop", false),
        ("mischief", "/sleep?ms=60000", false),
        ("mischief", "/endless-body", true),
        ("mischief", "/slow-body?ms=30&n=1000000", true),
        ("mischief_p2", "/loop", false),
        ("mischief_p2", "/sleep", false),
        ("mischief_p2", "/loop-midbody", true),
        ("mischief_p2", "/sleep-midbody", true),
        ("mischief_p2", "/large", true),
    ] {
        let bed = Bed::new();
        let guest = bed.service(&format!("examples/{component}.wasm"), short());
        let at_rest = bed.holders();
        leave(&guest, target, after_the_head).await;
        until(target, || guest.usage().in_flight == 0).await;
        // What is idle may stay.
        until(target, || bed.holders() <= at_rest + guest.usage().instances * 4).await;
        assert_eq!(guest.usage().traps, 0, "{component}{target}: {:?}", bed.lines.all());
        text(ask(&guest, "/").await).await.unwrap();
    }
}

/// A body that the host makes holds no instance: with one instance, a file that nobody reads keeps nobody waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_file_holds_no_instance() {
    let bed = Bed::new();
    let limits = atoll_testkit::Limits { instances: 1, ..short() };
    let guest = bed.service("examples/mischief.wasm", limits);
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(ask(&guest, "/read?path=big").await.unwrap());
    }
    until("the instance is free", || guest.usage().in_flight == 0).await;
    assert_eq!(guest.usage().instances, 1);
    assert_eq!(text(ask(&guest, "/").await).await.as_deref(), Ok("mischief\n"));
    for answer in slow {
        assert_eq!(answer.response.into_body().collect().await.unwrap().to_bytes().len(), 10 << 20);
    }
}

/// What a guest writes is taken off it as far as it does so without waiting: a slow reader of it holds no instance either.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_small_body_holds_no_instance() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", atoll_testkit::Limits { instances: 1, ..short() });
    let body = "x".repeat(50_000);
    let mut slow = Vec::new();
    for _ in 0..10 {
        let answer = ask(&guest, &format!("/respond?body={body}")).await.unwrap();
        assert_eq!(http_body::Body::size_hint(answer.response.body()).exact(), Some(50_000));
        slow.push(answer);
    }
    for answer in slow {
        assert_eq!(text(Ok(answer)).await.unwrap(), body);
    }
}

/// Up to 1 MiB; what is larger goes at its reader's pace, and its instance with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_is_taken_off_at_once_and_more_is_not() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", atoll_testkit::Limits { instances: 1, ..short() });
    let whole = ask(&guest, "/large?mb=1").await.unwrap();
    assert_eq!(http_body::Body::size_hint(whole.response.body()).exact(), Some(1 << 20));
    assert_eq!(text(ask(&guest, "/").await).await.as_deref(), Ok("mischief\n"));
    let larger = ask(&guest, "/large?mb=2").await.unwrap();
    assert_eq!(text(ask(&guest, "/").await).await, Err("overloaded".into()));
    for (answer, length) in [(whole, 1 << 20), (larger, 2 << 20)] {
        assert_eq!(answer.response.into_body().collect().await.unwrap().to_bytes().len(), length);
    }
    assert_eq!(text(ask(&guest, "/").await).await.as_deref(), Ok("mischief\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_does_not_wait_for_a_slow_body() {
    let bed = Bed::new();
    let guest = bed.service("examples/mischief.wasm", atoll_testkit::Limits::default());
    let start = tokio::time::Instant::now();
    let mut body = ask(&guest, "/slow-body?ms=300&n=2").await.unwrap().response.into_body();
    assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    for line in ["line 0\n", "line 1\n"] {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().map(|data| &data[..]), Some(line.as_bytes()));
    }
    assert!(start.elapsed() > Duration::from_millis(590), "{:?}", start.elapsed());
    assert!(body.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_instances_are_busy_one_waits_and_is_told() {
    let bed = Bed::new();
    let limits = atoll_testkit::Limits { instances: 1, ..short() };
    let guest = bed.service("examples/mischief.wasm", limits);
    let busy = ask(&guest, "/slow-body?ms=20&n=1000").await.unwrap();
    assert_eq!(text(ask(&guest, "/").await).await, Err("overloaded".into()));
    drop(busy);
    until("the instance is free", || guest.usage().in_flight == 0).await;
    assert_eq!(text(ask(&guest, "/").await).await.as_deref(), Ok("mischief\n"));
}

/// Of those who wait for an instance there are 1,024; who comes then is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn not_everybody_may_wait() {
    let bed = Bed::new();
    let limits = atoll_testkit::Limits { instances: 1, timeout: Duration::from_mins(1), ..short() };
    let guest = bed.service("examples/mischief.wasm", limits);
    let busy = ask(&guest, "/slow-body?ms=20&n=1000000").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..1024 {
        let guest = guest.clone();
        waiting.spawn(async move { text(ask(&guest, "/").await).await });
    }
    until("all of them wait", || guest.usage().in_flight == 1025).await;
    let told = tokio::time::timeout(Duration::from_secs(10), ask(&guest, "/")).await.expect("it waits");
    assert_eq!(text(told).await, Err("overloaded".into()));
    drop(busy);
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().as_deref(), Ok("mischief\n"));
    }
}
