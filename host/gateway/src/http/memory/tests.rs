//! What is kept, by which key, and for how long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use atoll_semantics::{coding::Coding, scheme::Scheme};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header::ACCEPT};

use super::{Fresh, Held, Memory, Remembered, Representation, Tally};
use crate::http::{access::Upstream, key::Handed, tests::fields};

fn handed<'a>(target: &'a str, fields: &'a HeaderMap) -> Handed<'a> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Handed { generation: 1, scheme: Scheme::Https, authority: "a.test", port: None, path, query, fields, changes: &[] }
}

fn upstream() -> Upstream {
    Upstream { name: "site".into(), revision: Some("c0ffee".into()), remembered: false }
}

struct Given {
    head: &'static [(&'static str, &'static str)],
    varies: &'static [HeaderName],
    fresh: Fresh,
    touches: u64,
}

const PLAIN: Given = Given { head: &[], varies: &[], fresh: Fresh::WhileGeneration, touches: 1 };

fn remember(memory: &Memory, handed: &Handed<'_>, body: impl Into<Bytes>, given: &Given) -> (Arc<Remembered>, bool) {
    let representation = Representation::new(StatusCode::OK, fields(given.head), body.into(), true);
    memory.remember(handed, given.varies, representation, given.fresh, upstream(), given.touches)
}

/// The length of the body that is remembered.
fn recalled(memory: &Memory, handed: &Handed<'_>) -> Option<u64> {
    recalled_at(memory, handed, Instant::now())
}

fn recalled_at(memory: &Memory, handed: &Handed<'_>, now: Instant) -> Option<u64> {
    let remembered = memory.recall(handed, || now)?;
    Some(remembered.representation.head()["content-length"].to_str().unwrap().parse().unwrap())
}

#[test]
fn an_answer_is_one_requests() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    remember(&memory, &handed("/x", &none), "1", &PLAIN);
    remember(&memory, &handed("/x?a=1", &none), "22", &PLAIN);
    for (target, length) in [("/x", Some(1)), ("/x?a=1", Some(2)), ("/x?a=2", None), ("/x?", None), ("/", None)] {
        assert_eq!(recalled(&memory, &handed(target, &none)), length, "{target}");
    }
    let other = Handed { authority: "b.test", ..handed("/x", &none) };
    assert_eq!(recalled(&memory, &other), None);
}

#[test]
fn a_new_generation_reaches_nothing_of_the_old() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    let site: Arc<str> = "site".into();
    let tally = memory.tally(&site);
    assert!(Memory::advances(&tally, 1) && !Memory::advances(&tally, 1));
    remember(&memory, &handed("/x", &none), "1", &PLAIN);
    let newer = Handed { generation: 2, ..handed("/x", &none) };
    assert_eq!(recalled(&memory, &newer), None);
    assert!(Memory::advances(&tally, 2) && !Memory::advances(&tally, 1));
    remember(&memory, &newer, "22", &PLAIN);
    let weight = memory.weight();
    memory.sweep();
    assert_eq!(recalled(&memory, &handed("/x", &none)), None);
    assert_eq!(recalled(&memory, &newer), Some(2));
    assert!(memory.weight() < weight);
    assert!(Arc::ptr_eq(&memory.tally(&site), &tally));
    assert!(Memory::advances(&Tally::default(), 1));
}

#[test]
fn answers_that_vary() {
    let memory = Memory::new(1 << 20);
    let (html, json, none) = (fields(&[("accept", "text/html")]), fields(&[("accept", "json")]), HeaderMap::new());
    let by_accept = Given { varies: &[ACCEPT], ..PLAIN };
    remember(&memory, &handed("/x", &html), "1", &by_accept);
    remember(&memory, &handed("/x", &json), "22", &by_accept);
    assert_eq!(recalled(&memory, &handed("/x", &html)), Some(1));
    assert_eq!(recalled(&memory, &handed("/x", &json)), Some(2));
    assert_eq!(recalled(&memory, &handed("/x", &none)), None);
    // An answer that says nothing of it is still one of several.
    remember(&memory, &handed("/x", &none), "333", &PLAIN);
    assert_eq!(recalled(&memory, &handed("/x", &none)), Some(3));
    assert_eq!(recalled(&memory, &handed("/x", &html)), Some(1));
    // One that varies by more makes the others unreachable: they don't say how they do.
    let both = fields(&[("accept", "text/html"), ("cookie", "a")]);
    let by_both = Given { varies: &[ACCEPT, http::header::COOKIE], ..PLAIN };
    remember(&memory, &handed("/x", &both), "4444", &by_both);
    assert_eq!(recalled(&memory, &handed("/x", &both)), Some(4));
    assert_eq!(recalled(&memory, &handed("/x", &html)), None);
}

#[test]
fn names_do_not_pile_up() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    for at in 0..100 {
        let varies = [HeaderName::try_from(format!("x-{at}")).unwrap()];
        let representation = Representation::new(StatusCode::OK, fields(&[]), Bytes::from_static(b"1"), true);
        memory.remember(&handed("/x", &none), &varies, representation, Fresh::WhileGeneration, upstream(), 1);
        assert_eq!(recalled(&memory, &handed("/x", &none)), Some(1));
    }
    let key = memory.key(&handed("/x", &none)).0;
    let Some(Held::Names { names, .. }) = memory.shelf.peek(key.bytes()) else { panic!("it varies") };
    // 33 begin anew, and so do 66 and 99.
    assert_eq!(names.iter().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-96", "x-97", "x-98", "x-99"]);
}

#[test]
fn queries_that_do_not_count() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    let ignores_all = Given { head: &[("no-vary-search", "params")], ..PLAIN };
    let ignores_utm = Given { head: &[("no-vary-search", "params=(\"utm\")")], ..PLAIN };
    remember(&memory, &handed("/all?q=1", &none), "1", &ignores_all);
    for target in ["/all", "/all?", "/all?q=2", "/all?x&y=z"] {
        assert_eq!(recalled(&memory, &handed(target, &none)), Some(1), "{target}");
    }
    remember(&memory, &handed("/utm?q=1&utm=2", &none), "22", &ignores_utm);
    for (target, length) in
        [("/utm?q=1", Some(2)), ("/utm?utm=3&q=1", Some(2)), ("/utm?q=2", None), ("/utm", None), ("/utm?utm=1", None)]
    {
        assert_eq!(recalled(&memory, &handed(target, &none)), length, "{target}");
    }
}

#[test]
fn another_answers_rule_is_no_excuse() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    let ignores_utm = Given { head: &[("no-vary-search", "params=(\"utm\")")], ..PLAIN };
    let ignores_all = Given { head: &[("no-vary-search", "params, except=(\"page\")")], ..PLAIN };
    remember(&memory, &handed("/x?utm=1", &none), "1", &ignores_utm);
    // Leads to the same key as the first, but the first depends on more.
    remember(&memory, &handed("/x?page=1", &none), "22", &ignores_all);
    assert_eq!(recalled(&memory, &handed("/x?page=1&y", &none)), Some(2));
    assert_eq!(recalled(&memory, &handed("/x?y", &none)), None);
    assert_eq!(recalled(&memory, &handed("/x?utm=2", &none)), Some(1));
    assert_eq!(recalled(&memory, &handed("/x", &none)), Some(1));
}

#[test]
fn what_the_generation_does_not_explain_grows_old() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    let since = Instant::now();
    let seconds = Duration::from_secs;
    let aging = Fresh::For { since, age: seconds(5), lifetime: seconds(60) };
    remember(&memory, &handed("/x", &none), "1", &Given { fresh: aging, ..PLAIN });
    assert_eq!(recalled_at(&memory, &handed("/x", &none), since + seconds(54)), Some(1));
    assert_eq!(recalled_at(&memory, &handed("/x", &none), since + seconds(55)), None);
    assert_eq!(aging.age(|| since + seconds(10)), Some(seconds(15)));
    assert!(aging.lasts(since + seconds(54)) && !aging.lasts(since + seconds(55)));
    let later = since + seconds(1 << 30);
    assert!(Fresh::WhileGeneration.lasts(later) && Fresh::WhileGeneration.age(|| later).is_none());
}

#[test]
fn an_unsafe_request_makes_stale_what_grows_old() {
    let memory = Memory::new(1 << 20);
    let none = HeaderMap::new();
    let now = Instant::now();
    let aging = Fresh::For { since: now, age: Duration::ZERO, lifetime: Duration::from_mins(1) };
    let touches = memory.touches();
    remember(&memory, &handed("/old", &none), "1", &Given { fresh: aging, touches, ..PLAIN });
    remember(&memory, &handed("/still", &none), "22", &Given { touches, ..PLAIN });
    memory.touch(&handed("/old?q=1", &none));
    memory.touch(&handed("/still", &none));
    assert_eq!(recalled(&memory, &handed("/old", &none)), None);
    assert_eq!(recalled(&memory, &handed("/still", &none)), Some(2));
    // Asked before, answered after: it may have been made of what was there before.
    remember(&memory, &handed("/old", &none), "1", &Given { fresh: aging, touches, ..PLAIN });
    assert_eq!(recalled(&memory, &handed("/old", &none)), None);
    let touches = memory.touches();
    remember(&memory, &handed("/old", &none), "1", &Given { fresh: aging, touches, ..PLAIN });
    assert_eq!(recalled(&memory, &handed("/old", &none)), Some(1));
}

#[test]
fn what_is_asked_for_once_evicts_nothing() {
    let bytes = 256 << 10;
    let memory = Memory::new(bytes);
    let none = HeaderMap::new();
    let page = vec![b'x'; 8 << 10];
    for at in 0..20 {
        assert!(remember(&memory, &handed(&format!("/kept/{at}"), &none), page.clone(), &PLAIN).1);
    }
    for at in 0..100 {
        remember(&memory, &handed(&format!("/once/{at}"), &none), page.clone(), &PLAIN);
        assert!(memory.weight() <= bytes);
    }
    for at in 0..20 {
        assert_eq!(recalled(&memory, &handed(&format!("/kept/{at}"), &none)), Some(8 << 10), "{at}");
    }
    assert!(!remember(&memory, &handed("/twice", &none), page.clone(), &PLAIN).1);
    assert!(remember(&memory, &handed("/twice", &none), page, &PLAIN).1);
    assert_eq!(recalled(&memory, &handed("/twice", &none)), Some(8 << 10));
}

#[test]
fn no_memory_remembers_nothing() {
    let memory = Memory::new(0);
    let none = HeaderMap::new();
    for _ in 0..3 {
        remember(&memory, &handed("/x", &none), "1", &PLAIN);
        assert_eq!(recalled(&memory, &handed("/x", &none)), None);
    }
    memory.resize(1 << 20);
    remember(&memory, &handed("/x", &none), "1", &PLAIN);
    assert_eq!(recalled(&memory, &handed("/x", &none)), Some(1));
}

#[test]
fn the_same_answer_under_two_names_is_held_once() {
    let (memory, none) = (Memory::new(1 << 20), fields(&[]));
    let at = |authority, body: &str| {
        let handed = Handed { authority, ..handed("/x", &none) };
        let (remembered, kept) = remember(&memory, &handed, body.repeat(100), &PLAIN);
        assert!(kept);
        (remembered.representation.whole().1.as_ptr(), remembered)
    };
    let (first, second, other) = (at("a.test", "1"), at("b.test", "1"), at("c.test", "2"));
    assert_eq!(first.0, second.0);
    assert_ne!(first.0, other.0);
}

#[tokio::test]
async fn an_encoded_form_is_weighed_too() {
    let memory = Memory::new(1 << 20);
    let html = Given { head: &[("content-type", "text/html")], varies: &[ACCEPT], ..PLAIN };
    let asked = fields(&[("accept", "text/html")]);
    let (remembered, _) = remember(&memory, &handed("/x", &asked), "0123456789".repeat(2000), &html);
    let weight = memory.weight();
    remembered.representation.encode(Coding::Gzip, &memory.twins).await;
    memory.reweigh(&handed("/x", &asked), &remembered);
    assert!(memory.weight() > weight + 50);
    assert_eq!(recalled(&memory, &handed("/x", &asked)), Some(20_000));
    // One that is not kept any more is not put back.
    let weight = memory.weight();
    remember(&memory, &handed("/x", &asked), "1", &html);
    memory.reweigh(&handed("/x", &asked), &remembered);
    assert!(memory.weight() < weight);
    assert_eq!(recalled(&memory, &handed("/x", &asked)), Some(1));
}

#[test]
fn what_was_not_to_be_remembered_is_noted() {
    let memory = Memory::new(1 << 20);
    assert!(!memory.is_unremembered(b"key"));
    memory.note_unremembered(b"key");
    assert!(memory.is_unremembered(b"key") && !memory.is_unremembered(b"other"));
}
