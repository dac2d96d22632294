//! `[component.NAME]`: a file, what it was granted, and its limits.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use http::uri::PathAndQuery;

use super::{
    Name, Origin,
    hash::TableHash,
    reader::{Entry, Table},
};
use crate::{problem::Place, text::quoted};

/// Of guest memory, one instance.
const MEMORY: u64 = 64 << 20;
/// A request's: to the response's head, then for each wait on a chunk.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An agent's tick.
const TICK: Duration = Duration::from_mins(10);
/// For what is in flight on an older generation.
const DRAIN: Duration = Duration::from_mins(5);
const IDLE: Duration = Duration::from_mins(1);
/// A fresh instance carries one request: nothing of one request is seen by another at the same time.
const CONCURRENCY: u32 = 1;
/// Enough that a slow few do not hold up the others, few enough that all of them fit: 2 GiB by the default memory.
const INSTANCES: u32 = 32;

#[derive(Clone, Debug)]
pub struct Component {
    pub name: Name,
    /// Absolute, and a file when the manifest was read.
    pub path: PathBuf,
    /// By the name that the guest opens.
    pub git: BTreeMap<Name, Grant>,
    /// What it may send requests to; nothing else.
    pub http: BTreeSet<Origin>,
    pub env: BTreeMap<String, String>,
    /// Must answer below 400 before a new generation serves.
    pub probe: Option<PathAndQuery>,
    pub limits: Limits,
    /// Of the table and the bindings named in it; the file's bytes are not in it.
    pub hash: TableHash,
    pub place: Place,
}

/// Access to one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A binding of the manifest.
    pub from: Name,
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// Reading too.
    Write,
}

/// Of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, one instance.
    pub memory: u64,
    /// Where the operator said one; see [`Limits::request`] and [`Limits::tick`].
    pub timeout: Option<Duration>,
    /// Requests that one instance carries at once, body included.
    pub concurrency: u32,
    /// Instances at once.
    pub instances: u32,
    /// How long an instance that has nothing to do is kept.
    pub idle: Duration,
    /// For what is in flight on an older generation.
    pub drain: Duration,
}

impl Limits {
    /// To a response's head, then for each wait on a chunk.
    pub fn request(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// An agent's whole tick.
    pub fn tick(&self) -> Duration {
        self.timeout.unwrap_or(TICK)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: MEMORY, timeout: None, concurrency: CONCURRENCY, instances: INSTANCES, idle: IDLE, drain: DRAIN }
    }
}

/// A table as it was read; which bindings there are is not known yet.
pub(super) struct Draft {
    pub(super) component: Component,
    /// Where each grant was said.
    pub(super) grants: BTreeMap<Name, Place>,
}

/// `argument` is the file that the command line names for this component.
pub(super) fn read(name: Name, mut table: Table<'_>, argument: Option<&Path>) -> Option<Draft> {
    let place = table.place();
    let path = if let Some(argument) = argument {
        table.entry("path");
        Some(argument.to_owned())
    } else {
        let what = format!("write path = \"{name}.wasm\", or give {name}.wasm as an argument");
        table.required("path", &what).and_then(|entry| entry.file())
    };
    let mut grants = BTreeMap::new();
    let mut git = BTreeMap::new();
    for entry in table.entry("git").map(|entry| entry.entries("{ NAME = \"read\" }")).unwrap_or_default() {
        if let Some((name, grant)) = grant(&entry) {
            grants.insert(name.clone(), table.source().place(&entry.span));
            git.insert(name, grant);
        }
    }
    let http = table.texts("http", Origin::parse).unwrap_or_default().into_iter().collect();
    let env = table.entry("env").map(|entry| entry.entries("{ NAME = \"value\" }")).unwrap_or_default();
    let env = env.iter().filter_map(variable).collect();
    let probe = table.text("probe", probe);
    let limits = limits(&mut table);
    table.finish();

    let component = Component { name, path: path?, git, http, env, probe, limits, hash: TableHash::default(), place };
    Some(Draft { component, grants })
}

fn limits(table: &mut Table<'_>) -> Limits {
    const MEMORIES: RangeInclusive<u64> = 64 << 10..=4 << 30;
    const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
    const IDLES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
    const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

    Limits {
        memory: table.size("memory", MEMORY, MEMORIES),
        timeout: table.duration("timeout", TIMEOUTS),
        concurrency: table.number("concurrency", CONCURRENCY, 1..=1000),
        instances: table.number("instances", INSTANCES, 1..=1000),
        idle: table.duration("idle", IDLES).unwrap_or(IDLE),
        drain: table.duration("drain", DRAINS).unwrap_or(DRAIN),
    }
}

/// `pages = "read"`, or `pages = { from = "blog", mode = "read" }`.
fn grant(entry: &Entry<'_>) -> Option<(Name, Grant)> {
    let name = match Name::parse(entry.key) {
        Ok(name) => name,
        Err(message) => {
            entry.report(message);
            return None;
        }
    };
    if entry.is_text() {
        let mode = entry.text(mode)?;
        return Some((name.clone(), Grant { from: name, mode }));
    }
    let mut table = entry.table(format!("`git.{name}`"))?;
    let from = table.text("from", Name::parse).unwrap_or(name.clone());
    let mode = table.required("mode", "\"read\" or \"write\"").and_then(|entry| entry.text(mode));
    table.finish();
    Some((name, Grant { from, mode: mode? }))
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "read" => Ok(Mode::Read),
        "write" => Ok(Mode::Write),
        _ => Err(format!("{} is neither \"read\" nor \"write\"", quoted(text))),
    }
}

fn variable(entry: &Entry<'_>) -> Option<(String, String)> {
    if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
        entry.report("a variable's name is not empty and has no `=`");
        return None;
    }
    let value = entry.text(|text| {
        if text.contains('\0') { Err("a variable's value has no NUL".into()) } else { Ok(text.to_owned()) }
    })?;
    Some((entry.key.to_owned(), value))
}

fn probe(text: &str) -> Result<PathAndQuery, String> {
    let path = text.parse::<PathAndQuery>().ok();
    path.filter(|path| text.starts_with('/') && path.as_str() == text).ok_or_else(|| {
        format!("{} is not a path: it begins with `/`, with what has to be encoded encoded", quoted(text))
    })
}
