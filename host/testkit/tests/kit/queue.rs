//! What waits to be proved, who waits for it, and what they are told.

use std::time::Duration;

use atoll_runtime::Change;
use atoll_testkit::{Limits, Tree};

use crate::{
    keeper::{BROKEN, Place, ROUTER, branch, pages, plain, revision, routes},
    support::{Bed, Slow, table, until, upstreams},
};

fn slow(name: &str, tree: &Tree, delays: &[u64]) -> Change {
    let branch = Slow::branch(tree, delays);
    Change::Branch { known: name.into(), binding: name.into(), branch }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_tried_again_with_what_comes_later() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site"))]).await;
    let app = routes("app");
    assert!(place.change(vec![branch("routes", &app)]).await.unwrap_err().starts_with(BROKEN));
    assert_eq!(place.change(vec![Change::Upstreams(upstreams(&["app", "site"]))]).await, Ok(()));
    assert_eq!((place.serves("routes"), place.error()), (revision(&app), None));
}

/// An attempt is over when it failed; what waited before it waits on.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_leaves_nothing_behind() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site"))]).await;
    let invalid = Change::Code(Bed::code("examples/invalid.wasm"));
    let before = place.slot.serving().unwrap().digest();
    let waits = place.change(vec![Change::Code(Bed::code("examples/trap_at_start.wasm"))]).await.unwrap_err();
    for _ in 0..2 {
        let told = place.slot.attempt(invalid.clone()).await.outcome().await.unwrap_err().to_string();
        assert_eq!(told, "index.html:3: the first problem; the second problem");
        until("what is said is of what waits", || place.error().as_ref() == Some(&waits)).await;
        assert_eq!(place.slot.serving().unwrap().digest(), before);
    }
    // What serves, once more, is the end of all.
    place.slot.attempt(Change::Code(Bed::code(ROUTER))).await.outcome().await.unwrap();
    assert_eq!(place.error(), None);
}

/// What is swapped in by hand stays: neither bytes that serve already wait beside a bad head to come back, nor those that
/// failed before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_swap_does_not_undo_it() {
    let (bad, one) = (routes("sight"), Change::Code(Bed::code("examples/router_one.wasm")));
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site")), ("pages", &pages("1"))]).await;
    assert!(place.change(vec![branch("routes", &bad)]).await.unwrap_err().starts_with(BROKEN));
    // It serves, whatever waits beside it.
    assert_eq!(place.change(vec![Change::Code(Bed::code(ROUTER))]).await, Ok(()));
    assert_eq!(place.slot.attempt(Change::Code(Bed::code(ROUTER))).await.outcome().await, Ok(()));
    assert!(place.error().unwrap().starts_with(BROKEN));
    let swapped = Bed::code("examples/router_one.wasm").digest();
    assert_eq!(place.slot.attempt(one.clone()).await.outcome().await, Ok(()));
    assert_eq!(place.change(vec![branch("pages", &pages("2"))]).await, Ok(()));
    assert_eq!((place.slot.serving().unwrap().digest(), place.error()), (swapped, None));

    // Another that nothing is wrong with, but for a router that can't be without one.
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site")), ("pages", &pages("1"))]).await;
    assert!(place.change(vec![branch("routes", &bad)]).await.unwrap_err().starts_with(BROKEN));
    place.change(vec![Change::Code(Bed::code("examples/trap_at_start.wasm"))]).await.unwrap_err();
    assert_eq!(place.slot.attempt(one).await.outcome().await, Ok(()));
    assert_eq!(place.change(vec![branch("pages", &pages("3"))]).await, Ok(()));
    assert_eq!((place.slot.serving().unwrap().digest(), place.error()), (swapped, None));
}

/// What comes while something bad is proved is tried all the same, and who asks how all stands is told of what waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_proof_fails_is_tried() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site")), ("pages", &pages("1"))]).await;
    let (bad, good) = (routes("sight"), Tree::new().file("b.test.toml", "upstream = \"site\"\n"));
    let begin = |delay| {
        let (slot, change) = (place.slot.clone(), slow("routes", &bad, &[delay]));
        tokio::spawn(async move { slot.change(vec![change]).await })
    };
    let first = begin(150);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(place.change(vec![branch("routes", &good)]).await, Ok(()));
    assert_eq!(place.serves("routes"), revision(&good));
    assert_eq!(first.await.unwrap().unwrap_err().to_string(), "overtaken by a newer change");
    let second = begin(150);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(place.change(vec![branch("pages", &pages("2"))]).await, Ok(()));
    assert_eq!(place.serves("pages"), revision(&pages("2")));
    assert!(second.await.unwrap().unwrap_err().to_string().starts_with(BROKEN));
    let (asked, pushed) =
        (place.slot.offer(Vec::new()).await, place.slot.offer(vec![branch("pages", &pages("3"))]).await);
    assert!(asked.outcome().await.unwrap_err().to_string().starts_with(BROKEN));
    assert_eq!(pushed.outcome().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_change_overtakes_a_proof() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &Tree::new())]).await;
    let (late, quick) = (routes("site"), Tree::new().file("b.test.toml", "upstream = \"site\"\n"));
    let slot = place.slot.clone();
    let change = slow("routes", &late, &[4_000]);
    let first = tokio::spawn(async move { slot.change(vec![change]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = tokio::time::Instant::now();
    assert_eq!(place.change(vec![branch("routes", &quick)]).await, Ok(()));
    assert!(start.elapsed() < Duration::from_secs(2), "it waited for {:?}", start.elapsed());
    let overtaken = first.await.unwrap().unwrap_err();
    assert_eq!((overtaken.to_string().as_str(), overtaken.passing), ("overtaken by a newer change", true));
    assert_eq!(place.serves("routes"), revision(&quick));
}

/// Changes that come eight times as fast as their proofs end, until one of them serves; whether one did.
async fn one_of_many_serves(place: &Place, most: u32) -> bool {
    let first = place.slot.serving().unwrap().id();
    for n in 0..most {
        let tree = Tree::new().file("a.test.toml", format!("# {n}\nupstream = \"site\"\n"));
        place.slot.notify(vec![slow("routes", &tree, &[400])]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if place.slot.serving().unwrap().id() != first {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_come_faster_than_proofs_end_are_seen_all_the_same() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &Tree::new())]).await;
    assert!(one_of_many_serves(&place, 40).await);
}

/// Nor does what waits in vain beside them keep any from being left to end.
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_come_fast_beside_what_is_wrong_are_seen_all_the_same() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &Tree::new())]).await;
    assert!(place.change(vec![Change::Code(Bed::code("examples/invalid.wasm"))]).await.is_err());
    assert!(one_of_many_serves(&place, 80).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_later_is_tried_again() {
    let hasty = table(Limits { timeout: Duration::from_millis(200), ..Limits::default() }, None, 0);
    let place = Place::serving(ROUTER, hasty, &[("routes", &Tree::new())]).await;
    let good = routes("site");
    let late = "did not start and validate within 200ms";
    let told = place.change(vec![slow("routes", &good, &[1_000, 1_000, 0])]).await;
    assert_eq!(told, Err(late.into()));
    until("it passes the third time", || place.serves("routes") == revision(&good)).await;
    until("nothing is wrong any more", || place.error().is_none()).await;
    let told = place.bed.lines.all().iter().filter(|line| line.contains(late)).count();
    assert_eq!(told, 2, "once a try");
}

/// Each of two that were tried alone, as neither would pass with the other.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_what_is_wrong_with_his_own() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site"))]).await;
    let swap = place.slot.attempt(slow("routes", &routes("sight"), &[400, 0])).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let invalid = place.slot.offer(vec![Change::Code(Bed::code("examples/invalid.wasm"))]).await;
    let wrong = "index.html:3: the first problem; the second problem";
    assert_eq!(invalid.outcome().await.unwrap_err().to_string(), wrong);
    let told = swap.outcome().await.unwrap_err().to_string();
    assert!(told.starts_with(BROKEN) && !told.contains(wrong), "{told}");
    let both = format!("not proved, the former goes on serving: {wrong}; {told}");
    assert!(place.bed.lines.all().contains(&both), "{:?}", place.bed.lines.all());
    until("what is said is of what waits", || place.error().as_deref() == Some(wrong)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_is_in_the_log_though_something_good_came_meanwhile() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site")), ("pages", &pages("1"))]).await;
    let swap = place.slot.attempt(slow("routes", &routes("sight"), &[150])).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(place.change(vec![branch("pages", &pages("2"))]).await, Ok(()));
    let told = swap.outcome().await.unwrap_err();
    let line = format!("not proved, the former goes on serving: {told}");
    assert_eq!(place.bed.lines.all().iter().filter(|said| **said == line).count(), 1, "{:?}", place.bed.lines.all());
    assert_eq!((place.serves("pages"), place.error()), (revision(&pages("2")), None));
}

/// The one that is left to end, after so many that were not, hears how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_to_end_is_not_called_overtaken() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &Tree::new())]).await;
    let good = |n: u32| Tree::new().file("a.test.toml", format!("# {n}\nupstream = \"site\"\n"));
    let mut swaps = Vec::new();
    for n in 1..=5 {
        swaps.push(place.slot.attempt(slow("routes", &good(n), &[600])).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last = place.slot.attempt(branch("routes", &routes("sight"))).await;
    for (n, swap) in (1..).zip(swaps) {
        let told = swap.outcome().await.map_err(|disproof| disproof.to_string());
        let expected = if n < 5 { Err("overtaken by a newer change".to_owned()) } else { Ok(()) };
        assert_eq!(told, expected, "the {n}th");
    }
    assert!(last.outcome().await.unwrap_err().to_string().starts_with(BROKEN));
    assert_eq!(place.serves("routes"), revision(&good(5)));
}

/// A newer change that fails for good does not end the tries of an older one.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_later_is_tried_again_beside_what_never_will() {
    let hasty = table(Limits { timeout: Duration::from_millis(200), ..Limits::default() }, None, 0);
    let place = Place::serving(ROUTER, hasty, &[("routes", &Tree::new())]).await;
    let good = routes("site");
    let late = "did not start and validate within 200ms";
    assert_eq!(place.change(vec![slow("routes", &good, &[1_000, 1_000, 0])]).await, Err(late.into()));
    let wrong = "index.html:3: the first problem; the second problem";
    let invalid = place.change(vec![Change::Code(Bed::code("examples/invalid.wasm"))]).await;
    assert_eq!((invalid, place.error()), (Err(wrong.into()), Some(format!("{wrong}; {late}"))));
    until("it passes the third time", || place.serves("routes") == revision(&good)).await;
    until("the other waits on", || place.error().as_deref() == Some(wrong)).await;
}
