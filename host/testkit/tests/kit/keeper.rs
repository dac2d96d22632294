//! Which generation of a component serves: proved before it does, each change for itself, and back after a restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use atoll_runtime::{Change, Draft, Generation, Inputs, Ledger, Prepared, Slot, Start, Table};
use atoll_testkit::{Disproof, Limits, Tree};
use http_body_util::BodyExt as _;

use crate::support::{Bed, ask, inputs, table, text, until, upstreams};

pub(crate) const ROUTER: &str = "router.wasm";
const SERVICE: &str = "examples/mischief.wasm";

/// A route file of our router; the name of an upstream that is not there makes it a broken one.
pub(crate) fn routes(upstream: &str) -> Tree {
    Tree::new().file("a.test.toml", format!("upstream = \"{upstream}\"\n"))
}

pub(crate) fn pages(text: &str) -> Tree {
    Tree::new().file("index.html", text.to_owned())
}

pub(crate) const BROKEN: &str = "a.test.toml:1: ";

/// Writes down the revisions of what was proved.
#[derive(Default)]
struct Book(Mutex<Vec<BTreeMap<String, String>>>);

impl Ledger for Book {
    fn proved(&self, component: &str, generation: &Generation) -> Result<(), String> {
        assert_eq!(component, "fixture");
        self.0.lock().unwrap().push(generation.revisions().clone());
        Ok(())
    }
}

pub(crate) struct Place {
    pub(crate) bed: Bed,
    book: Arc<Book>,
    pub(crate) slot: Arc<Slot>,
}

fn draft(code: &str, table: Arc<Table>, branches: &[(&str, &Tree)]) -> Draft {
    let Inputs { code, table, branches, upstreams } = inputs(Bed::code(code), table, branches);
    Draft { code: Some(code), table, branches, upstreams }
}

pub(crate) fn plain() -> Arc<Table> {
    table(Limits::default(), None, 0)
}

impl Place {
    fn start(start: Start) -> Self {
        let (bed, book) = (Bed::new(), Arc::<Book>::default());
        let slot = Slot::new(bed.runtime.clone(), book.clone(), "fixture".into(), start);
        Self { bed, book, slot }
    }

    /// Begins with what stands today, and waits until it serves.
    pub(crate) async fn serving(code: &str, table: Arc<Table>, branches: &[(&str, &Tree)]) -> Self {
        let place =
            Self::start(Start { proved: None, unchanged: false, current: draft(code, table, branches), held: false });
        until("the first generation serves", || place.slot.serving().is_some()).await;
        place
    }

    pub(crate) async fn change(&self, changes: Vec<Change>) -> Result<(), String> {
        self.slot.change(changes).await.map_err(|disproof| disproof.to_string())
    }

    pub(crate) fn serves(&self, name: &str) -> String {
        self.slot.serving().map(|serving| serving.revisions()[name].clone()).unwrap_or_default()
    }

    pub(crate) fn error(&self) -> Option<String> {
        self.slot.error().map(|disproof| disproof.to_string())
    }
}

pub(crate) fn branch(name: &str, tree: &Tree) -> Change {
    Change::Branch { known: name.into(), binding: name.into(), branch: tree.branch().unwrap() }
}

pub(crate) fn revision(tree: &Tree) -> String {
    tree.branch().unwrap().revision().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_serves_once_it_is_proved() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &Tree::new())]).await;
    let good = routes("site");
    assert_eq!(place.change(vec![branch("routes", &good)]).await, Ok(()));
    assert_eq!((place.serves("routes"), place.error()), (revision(&good), None));
    let written = place.book.0.lock().unwrap().iter().map(|revisions| revisions["routes"].clone()).collect::<Vec<_>>();
    assert_eq!(written, [revision(&Tree::new()), revision(&good)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proved_leaves_the_former_serving() {
    let good = routes("site");
    let place = Place::serving(ROUTER, plain(), &[("routes", &good)]).await;
    let before = place.slot.serving().unwrap().id();
    let told = place.change(vec![branch("routes", &routes("sight"))]).await.unwrap_err();
    assert!(told.starts_with(BROKEN), "{told}");
    assert_eq!(place.error(), Some(told.clone()));
    assert_eq!((place.slot.serving().unwrap().id(), place.serves("routes")), (before, revision(&good)));
    let log = place.bed.lines.all();
    let digest = place.slot.serving().unwrap().digest().to_string();
    let served = format!("serves routes {}, component {}", revision(&good), &digest[..12]);
    let failed = format!("not proved, the former goes on serving: {told}");
    assert_eq!(log, [served.clone(), failed.clone()]);
    // Back to what serves: nothing is left to complain of, and nothing to prove.
    assert_eq!(place.change(vec![branch("routes", &good)]).await, Ok(()));
    assert_eq!((place.slot.serving().unwrap().id(), place.error()), (before, None));
    assert_eq!(place.bed.lines.all(), [served.clone(), failed, format!("{served}, as before")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_branches_a_bad_one_holds_up_neither_the_other_nor_a_swap() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site")), ("pages", &pages("1"))]).await;
    let (bad, second, third) = (routes("sight"), pages("2"), pages("3"));
    // Both at once, in either order.
    let told = place.change(vec![branch("routes", &bad), branch("pages", &second)]).await.unwrap_err();
    assert!(told.starts_with(BROKEN), "{told}");
    assert_eq!((place.serves("routes"), place.serves("pages")), (revision(&routes("site")), revision(&second)));
    let told = place.change(vec![branch("pages", &third), branch("routes", &bad)]).await.unwrap_err();
    assert!(told.starts_with(BROKEN), "{told}");
    assert_eq!((place.serves("routes"), place.serves("pages")), (revision(&routes("site")), revision(&third)));
    // While it waits: a swap, to a component that finds nothing wrong with anything.
    assert!(place.error().unwrap().starts_with(BROKEN));
    assert_eq!(place.change(vec![Change::Code(Bed::code("examples/router_one.wasm"))]).await, Ok(()));
    // Then the bad head is no longer bad, and serves as well.
    assert_eq!((place.serves("routes"), place.error()), (revision(&bad), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_swap_is_told_to_who_asked_for_it() {
    let place = Place::serving(SERVICE, plain(), &[("pages", &pages("1"))]).await;
    let told = place.change(vec![Change::Code(Bed::code("examples/invalid.wasm"))]).await;
    assert_eq!(told, Err("index.html:3: the first problem; the second problem".into()));
    let told = place.change(vec![Change::Code(Bed::code("examples/trap_at_start.wasm"))]).await.unwrap_err();
    assert!(told.starts_with("trapped at its start: "), "{told}");
    assert_eq!(text(ask(&place.slot.serving().unwrap(), "/").await).await.as_deref(), Ok("mischief\n"));
    // A push meanwhile serves under the old bytes.
    let second = pages("2");
    assert_eq!(place.change(vec![branch("pages", &second)]).await, Ok(()));
    assert_eq!((place.serves("pages"), place.error().is_some()), (revision(&second), true));
    assert_eq!(place.change(vec![Change::Code(Bed::code("examples/hello.wasm"))]).await, Ok(()));
    let hello = text(ask(&place.slot.serving().unwrap(), "/").await).await;
    assert_eq!((hello.as_deref(), place.error()), (Ok("Hello from a component\n"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_serves_before_the_first_proof() {
    let current = draft(ROUTER, plain(), &[("routes", &routes("sight"))]);
    let place = Place::start(Start { proved: None, unchanged: false, current, held: false });
    until("it is told", || place.error().is_some()).await;
    assert!(place.slot.serving().is_none());
    assert!(place.bed.lines.all()[0].starts_with("not proved, nothing serves: a.test.toml:1: "));
    let good = routes("site");
    assert_eq!(place.change(vec![branch("routes", &good)]).await, Ok(()));
    assert_eq!((place.serves("routes"), place.error()), (revision(&good), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_yet_is_waited_for() {
    let mut current = draft(ROUTER, plain(), &[("routes", &routes("site"))]);
    current.code = None;
    let place = Place::start(Start { proved: None, unchanged: false, current, held: false });
    until("it is told", || place.error().is_some()).await;
    assert_eq!(place.error().as_deref(), Some("there is no component file yet"));
    assert_eq!(place.change(vec![Change::Code(Bed::code(ROUTER))]).await, Ok(()));
    assert_eq!((place.slot.serving().is_some(), place.error()), (true, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proved_serves_again_at_once() {
    // A head that no proof would pass, to see that none is made.
    let proved = routes("sight");
    let draft = draft(ROUTER, plain(), &[("routes", &proved)]);
    let was = inputs(Bed::code(ROUTER), plain(), &[("routes", &proved)]);
    let place = Place::start(Start { proved: Some(was), unchanged: true, current: draft, held: false });
    assert_eq!(place.serves("routes"), revision(&proved));
    assert_eq!(place.change(Vec::new()).await, Ok(()));
    assert_eq!((place.error(), place.book.0.lock().unwrap().len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proved_serves_where_todays_head_does_not() {
    let (good, bad) = (routes("site"), routes("sight"));
    let was = || inputs(Bed::code(ROUTER), plain(), &[("routes", &good)]);
    for unchanged in [true, false] {
        let current = draft(ROUTER, plain(), &[("routes", &bad)]);
        let place = Place::start(Start { proved: Some(was()), unchanged, current, held: false });
        until("today's head is told of", || place.error().is_some()).await;
        until("the former serves", || place.slot.serving().is_some()).await;
        assert_eq!(place.serves("routes"), revision(&good), "unchanged: {unchanged}");
        assert!(place.error().unwrap().starts_with(BROKEN));
        // The bad head waits on, and comes with what mends it.
        assert_eq!(place.change(vec![Change::Upstreams(upstreams(&["sight", "site"]))]).await, Ok(()));
        assert_eq!((place.serves("routes"), place.error()), (revision(&bad), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_changed_table_the_new_one_is_proved_first() {
    let (old, new) = (routes("site"), Tree::new().file("b.test.toml", "upstream = \"site\"\n"));
    let today = table(Limits::default(), None, 1);
    let was = inputs(Bed::code(ROUTER), today.clone(), &[("routes", &old)]);
    let current = draft(ROUTER, today, &[("routes", &new)]);
    let place = Place::start(Start { proved: Some(was), unchanged: false, current, held: false });
    until("it serves", || place.slot.serving().is_some()).await;
    assert_eq!((place.serves("routes"), place.error()), (revision(&new), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_changes_are_switched_to_together_or_not_at_all() {
    let old = routes("site");
    let place = Place::serving(ROUTER, plain(), &[("routes", &old)]).await;
    let new = Tree::new().file("b.test.toml", "upstream = \"site\"\n");
    // The branch is bound as before: where it stands is a change of its own.
    let reload = |tree: &Tree| {
        let branches = inputs(Bed::code(ROUTER), plain(), &[("routes", tree)]).branches;
        vec![Change::Table(table(Limits::default(), None, 1), branches), branch("routes", tree)]
    };

    let prepared = place.slot.prepare(reload(&new)).await.unwrap();
    assert_eq!(place.serves("routes"), revision(&old), "proved, and not switched to");
    drop(prepared);
    let refused: Result<Prepared, Disproof> = place.slot.prepare(reload(&routes("sight"))).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.starts_with(BROKEN), "{refused}");
    assert_eq!((place.serves("routes"), place.error()), (revision(&old), None), "a reload that fails leaves no trace");

    place.slot.prepare(reload(&new)).await.unwrap().switch().await;
    assert_eq!((place.serves("routes"), place.error()), (revision(&new), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_head_does_not_hold_up_a_reload() {
    let place = Place::serving(ROUTER, plain(), &[("routes", &routes("site"))]).await;
    assert!(place.change(vec![branch("routes", &routes("sight"))]).await.is_err());
    let upstreams = Change::Upstreams(upstreams(&["other", "site"]));
    place.slot.prepare(vec![upstreams]).await.unwrap().switch().await;
    assert_eq!(place.slot.serving().unwrap().inputs().upstreams.len(), 2);
    assert_eq!(place.serves("routes"), revision(&routes("site")));
    assert!(place.error().unwrap().starts_with(BROKEN));
}

/// Another binding has the name now: what moves the former, or moved it and waits, is nothing to who reads the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_read_no_more_is_not_read() {
    let (first, waits, other) =
        (routes("site"), routes("two"), Tree::new().file("b.test.toml", "upstream = \"site\"\n"));
    let place = Place::serving(ROUTER, plain(), &[("routes", &first)]).await;
    assert!(place.change(vec![branch("routes", &waits)]).await.unwrap_err().contains(BROKEN));
    let mut bound_anew = (*table(Limits::default(), None, 1)).clone();
    bound_anew.git.get_mut("routes").unwrap().binding = "others".into();
    let branches = BTreeMap::from([("routes".to_owned(), other.branch().unwrap())]);
    let prepared = place.slot.prepare(vec![Change::Table(Arc::new(bound_anew), branches)]).await.unwrap();
    prepared.switch().await;
    assert_eq!((place.serves("routes"), place.error()), (revision(&other), None));
    // What waited would pass now.
    assert_eq!(place.change(vec![Change::Upstreams(upstreams(&["site", "two"]))]).await, Ok(()));
    for late in [&waits, &first, &routes("nobody")] {
        assert_eq!(place.change(vec![branch("routes", late)]).await, Ok(()));
        assert_eq!((place.serves("routes"), place.error()), (revision(&other), None));
    }
    let next = routes("two");
    let moved = Change::Branch { known: "routes".into(), binding: "others".into(), branch: next.branch().unwrap() };
    assert_eq!(place.change(vec![moved]).await, Ok(()));
    assert_eq!(place.serves("routes"), revision(&next));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_fails_keeps_a_generation_from_serving() {
    let place = Place::serving(SERVICE, plain(), &[("pages", &pages("1"))]).await;
    let branches = || inputs(Bed::code(SERVICE), plain(), &[("pages", &pages("1"))]).branches;
    let probed = |path| Change::Table(table(Limits::default(), Some(path), 2), branches());
    let told = place.change(vec![probed("/status?code=500")]).await;
    assert_eq!(told, Err("probe /status?code=500: 500 Internal Server Error".into()));
    assert_eq!(place.change(vec![probed("/count")]).await, Ok(()));
    // The probe had an instance of its own.
    assert_eq!(text(ask(&place.slot.serving().unwrap(), "/count").await).await.as_deref(), Ok("1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_ends_on_the_old_generation_within_bounds() {
    let place = Place::serving(SERVICE, plain(), &[("pages", &pages("0"))]).await;
    let mut bodies = Vec::new();
    for n in 1..=6 {
        let answer = ask(&place.slot.serving().unwrap(), "/slow-body?ms=20&n=100").await.unwrap();
        bodies.push(answer.response.into_body());
        assert_eq!(place.change(vec![branch("pages", &pages(&n.to_string()))]).await, Ok(()));
    }
    // Four older generations may be at work: two were reset.
    until("the oldest are reset", || place.slot.draining() == 4).await;
    let mut ended = bodies.drain(..2).map(|body| tokio::spawn(body.collect())).collect::<Vec<_>>();
    for body in ended.drain(..) {
        assert_eq!(body.await.unwrap().err().map(|error| error.to_string()).as_deref(), Some(RESET));
    }
    let whole = tokio::spawn(bodies.remove(0).collect());
    assert!(whole.await.unwrap().unwrap().to_bytes().ends_with(b"line 99\n"));
    until("one of the four is done", || place.slot.draining() == 3).await;
    drop(bodies);
    until("what nobody reads is given up", || place.slot.draining() == 0).await;
    assert_eq!(place.slot.usage().requests, 6);
}

const RESET: &str = "cut off: it was of an older generation, whose time was over";

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_drains_for_as_long_as_its_table_says() {
    let brief = table(Limits { drain: Duration::from_millis(100), ..Limits::default() }, None, 0);
    let place = Place::serving(SERVICE, brief, &[("pages", &pages("0"))]).await;
    let answer = ask(&place.slot.serving().unwrap(), "/slow-body?ms=20&n=100").await.unwrap();
    assert_eq!(place.change(vec![branch("pages", &pages("1"))]).await, Ok(()));
    let ended = answer.response.into_body().collect().await;
    assert_eq!(ended.err().map(|error| error.to_string()).as_deref(), Some(RESET));
}
