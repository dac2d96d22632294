//! Where the built guests are, and a runtime without the kit's comforts for tests of what the kit hides.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use atoll_runtime::{
    Answer, Blob, Body, Branch, Code, Compiler, Digest, Engine, Entry, Failure, Generation, GrantedBranch, Inputs,
    Isolation, Journal, Line, Mode, Nowhere, Runtime, Table, TreeAnswer, Upstream,
};
use atoll_testkit::{Component, Limits, Tree};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};

/// A guest that does one thing, mostly wrong: an example of `tests/guests`.
pub(crate) fn fixture(name: &str) -> Component {
    Component::load(built(&format!("examples/{name}.wasm"))).unwrap()
}

/// One of our components.
pub(crate) fn component(name: &str) -> Component {
    Component::load(built(&format!("{name}.wasm"))).unwrap()
}

pub(crate) fn built(file: &str) -> PathBuf {
    // TARGET/debug/deps/kit-0123456789abcdef
    let exe = std::env::current_exe().unwrap();
    let file = exe.ancestors().nth(3).unwrap().join("wasm32-wasip2/guest").join(file);
    assert!(
        file.is_file(),
        "{} is not built: run scripts/test, or once scripts/setup and then\n\
        cargo build --profile guest --target wasm32-wasip2 -p router -p site\n\
        cargo build --profile guest --target wasm32-wasip2 -p guests --examples",
        file.display()
    );
    file
}

/// Short, for what is to be seen timing out.
pub(crate) fn short() -> Limits {
    Limits { timeout: Duration::from_millis(200), ..Limits::default() }
}

/// Waits until `is` says so.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited for 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Keeps every line.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Journal for Lines {
    fn write(&self, line: Line) {
        self.0.lock().unwrap().push(line.text);
    }
}

/// A runtime with a journal of its own.
pub(crate) struct Bed {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) lines: Arc<Lines>,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());
static CODE: LazyLock<Mutex<HashMap<String, Arc<Code>>>> = LazyLock::new(Mutex::default);

impl Bed {
    pub(crate) fn new() -> Self {
        let lines = Arc::<Lines>::default();
        Self { runtime: Arc::new(Runtime::new(ENGINE.clone(), lines.clone()).unwrap()), lines }
    }

    /// What has not been dropped yet: each instance writes to the journal, and so holds it.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.lines)
    }

    pub(crate) fn code(name: &str) -> Arc<Code> {
        let mut code = CODE.lock().unwrap();
        let load = || Arc::new(Compiler::in_process().load(&ENGINE, std::fs::read(built(name)).unwrap()).unwrap());
        code.entry(name.into()).or_insert_with(load).clone()
    }

    pub(crate) fn service(&self, name: &str, limits: Limits) -> Arc<Generation> {
        let pages = Tree::new().file("index.html", "<h1>x</h1>").file("big", vec![b'b'; 10 << 20]);
        let inputs = inputs(Self::code(name), table(limits, None, 0), &[("pages", &pages)]);
        Arc::new(self.runtime.assemble(&"fixture".into(), inputs).unwrap())
    }
}

/// A table that grants `pages` and `routes`; tables of different `numbers` are different tables.
pub(crate) fn table(limits: Limits, probe: Option<&str>, number: u8) -> Arc<Table> {
    let grant = |name: &str| (name.to_owned(), GrantedBranch { binding: name.into(), mode: Mode::Read });
    Arc::new(Table {
        hash: Digest::of(&[number]),
        limits,
        env: Vec::new(),
        git: BTreeMap::from([grant("pages"), grant("routes")]),
        publications: BTreeMap::new(),
        outbound: Arc::new(Nowhere),
        probe: probe.map(Into::into),
    })
}

pub(crate) fn inputs(code: Arc<Code>, table: Arc<Table>, branches: &[(&str, &Tree)]) -> Inputs {
    let branches = branches.iter().map(|(name, tree)| ((*name).to_owned(), tree.branch().unwrap())).collect();
    Inputs { code, table, branches, upstreams: upstreams(&["site"]) }
}

pub(crate) fn upstreams(names: &[&str]) -> Arc<[Upstream]> {
    names.iter().map(|name| Upstream { name: (*name).into(), component: true }).collect()
}

pub(crate) fn get(target: &str) -> http::Request<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    http::Request::get(format!("https://localhost{target}")).body(body).unwrap()
}

pub(crate) async fn ask(generation: &Generation, target: &str) -> Result<Answer, Failure> {
    generation.handle(get(target), Isolation::Shared).await
}

/// The whole body, or why it is not whole.
pub(crate) async fn text(answer: Result<Answer, Failure>) -> Result<String, String> {
    let answer = answer.map_err(|failure| failure.to_string())?;
    let body = answer.response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_bytes().into()).unwrap())
}

/// A branch from a slow disk, for as long as it is.
pub(crate) struct Slow {
    inner: Arc<dyn Branch>,
    delays: Mutex<Vec<Duration>>,
}

impl Slow {
    /// Its listings and its files come after one delay after the other, in milliseconds.
    pub(crate) fn branch(tree: &Tree, delays: &[u64]) -> Arc<dyn Branch> {
        let delays = Mutex::new(delays.iter().rev().map(|ms| Duration::from_millis(*ms)).collect());
        Arc::new(Self { inner: tree.branch().unwrap(), delays })
    }

    async fn wait(&self) {
        let delay = self.delays.lock().unwrap().pop();
        tokio::time::sleep(delay.unwrap_or_default()).await;
    }
}

impl Branch for Slow {
    fn revision(&self) -> &str {
        self.inner.revision()
    }
    fn committed(&self) -> u64 {
        self.inner.committed()
    }
    fn entry<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Entry> {
        self.inner.entry(path)
    }
    fn children<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Vec<Entry>> {
        Box::pin(async move {
            self.wait().await;
            self.inner.children(path).await
        })
    }
    fn size<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, u64> {
        self.inner.size(path)
    }
    fn contents<'a>(&'a self, path: &'a str, limit: u64) -> TreeAnswer<'a, Bytes> {
        self.inner.contents(path, limit)
    }
    fn read<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Blob> {
        Box::pin(async move {
            self.wait().await;
            self.inner.read(path).await
        })
    }
}
