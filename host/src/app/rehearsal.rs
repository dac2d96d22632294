//! A component as `host check` tries it, which fetches nothing: started, and asked what it finds wrong, on empty trees in
//! place of its branches. What it says of those is of no use; that it asked for what it is not granted is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use atoll_runtime::{
    Blob, Branch, Disproof, Draft, Engine, Entry, Journal, Kind, Level, Line, Runtime, Source, Table, TreeAnswer,
    TreeError,
};
use bytes::Bytes;

/// What keeps each component of a manifest from being of use, as far as that shows before anything is fetched.
pub(super) struct Rehearsal {
    runtime: Runtime,
    denied: Arc<Denied>,
}

impl Rehearsal {
    pub(super) fn new(engine: Engine) -> anyhow::Result<Self> {
        let denied = Arc::<Denied>::default();
        Ok(Self { runtime: Runtime::new(engine, denied.clone())?, denied })
    }

    /// That it would be refused; else why it would not serve, or nothing that is known of.
    pub(super) async fn of(&self, name: &str, mut draft: Draft) -> Result<Vec<String>, Disproof> {
        draft.branches = unborn(&draft.table);
        let Some(inputs) = draft.complete() else { return Ok(Vec::new()) };
        let name = Arc::from(name);
        self.runtime.check(&name, &inputs)?;
        let tried = self.runtime.rehearse(&name, &inputs).await;
        let mut words = std::mem::take(&mut *self.denied.0.lock().unwrap_or_else(PoisonError::into_inner));
        match tried {
            Ok(Ok(())) => words.clear(),
            // With these trees it may have been right.
            Ok(Err(_)) => {}
            Err(disproof) => words.push(disproof.to_string()),
        }
        Ok(words)
    }
}

/// What was asked for, and is not granted, as the runtime says it.
#[derive(Default)]
struct Denied(Mutex<Vec<String>>);

impl Journal for Denied {
    fn write(&self, line: Line) {
        if let Line { level: Level::Warning, source: Source::Component(_), text } = line {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

fn unborn(table: &Table) -> BTreeMap<String, Arc<dyn Branch>> {
    table.git.keys().map(|known| (known.clone(), Arc::new(Unborn) as Arc<dyn Branch>)).collect()
}

/// A branch without a commit.
struct Unborn;

impl Branch for Unborn {
    fn revision(&self) -> &'static str {
        ""
    }

    fn committed(&self) -> u64 {
        0
    }

    fn entry<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Entry> {
        let root = Entry { name: String::new(), kind: Kind::Directory, id: EMPTY.to_owned() };
        Box::pin(async move { path.is_empty().then_some(root).ok_or(TreeError::NotFound) })
    }

    fn children<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Vec<Entry>> {
        Box::pin(async move { path.is_empty().then(Vec::new).ok_or(TreeError::NotFound) })
    }

    fn size<'a>(&'a self, _: &'a str) -> TreeAnswer<'a, u64> {
        Box::pin(async { Err(TreeError::NotFound) })
    }

    fn contents<'a>(&'a self, _: &'a str, _: u64) -> TreeAnswer<'a, Bytes> {
        Box::pin(async { Err(TreeError::NotFound) })
    }

    fn read<'a>(&'a self, _: &'a str) -> TreeAnswer<'a, Blob> {
        Box::pin(async { Err(TreeError::NotFound) })
    }
}

/// Git's empty tree.
const EMPTY: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
