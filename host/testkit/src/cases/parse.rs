//! A cases file, into what is asked and what is expected.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use super::{
    expect::{self, Asked, Expect},
    reader::{Entry, Mistake, Read, Source, Table},
};
use crate::{Canned, Component, Request, Role, Tree, World};

pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) world: World,
    pub(super) question: Question,
    pub(super) expect: Expect,
}

pub(super) enum Question {
    Request(Request),
    Tick(u64),
    Validate,
}

pub(super) fn parse(component: &Component, text: &str, path: &Path) -> Result<Vec<Case>, Mistake> {
    let source = Source { text, path };
    let document = source.parse()?;
    let root = Table::root(&source, &document);
    let mut world = World::new();
    if let Some(clock) = root.get("clock") {
        world = world.clock(clock.number(u64::MAX)?);
    }
    for (name, value) in texts(root.get("env"), "[env]")? {
        world = world.env(&name, &value);
    }
    world = outbound(root.get("outbound"), world)?;
    let commits = commits(root.get("commit"))?;
    let files = repositories(root.get("repository"), path)?;
    let listed = upstreams(root.get("upstreams"))?;
    let tables = root.get("case").map(|cases| cases.tables("[[case]]")).transpose()?.unwrap_or_default();
    if let Some((binding, (entry, _))) = commits.iter().find(|(binding, _)| !files.contains_key(*binding)) {
        return Err(entry.mistake(format!("there is no [repository.{binding}] for this commit")));
    }

    // What it imports it is granted: a case says what there is, not who may.
    let writes = component.surface().imports.iter().any(|import| import.starts_with("atoll:host/publication@"));
    let mut cases = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let name = table.get("name").map(|name| name.text()).transpose()?;
        let question = question(&table, component)?;
        let asked = match (&question, component.surface().role) {
            (Question::Request(_), Some(Role::Router)) => Asked::Decision,
            (Question::Request(_), _) => Asked::Response,
            (Question::Tick(_), _) => Asked::Tick,
            (Question::Validate, _) => Asked::Validation,
        };
        let Some(expected) = table.get("expect") else { return Err(table.mistake("has no `expect`")) };
        let expect = expect::parse(&expected.table("`expect`")?, asked)?;
        let mut files = files.clone();
        files.extend(repositories(table.get("repository"), path)?);
        let line = table.line();
        table.finish()?;

        let mut world = world.clone();
        for (binding, tree) in files {
            let tree = commits.get(&binding).map_or(tree.clone(), |(_, commit)| commit.of(tree));
            world = if writes { world.writable(&binding, tree) } else { world.branch(&binding, tree) };
        }
        cases.push((name.unwrap_or_else(|| format!("case {}", at + 1)), line, world, question, expect));
    }
    root.finish()?;

    // What any case expects is there in all of them, so that they differ in nothing but what they ask.
    let expected: Vec<String> =
        cases.iter().filter_map(|(.., expect)| expect.upstream().map(ToOwned::to_owned)).collect();
    let with_upstreams = |mut world: World| {
        for name in &expected {
            world = world.service(name);
        }
        for (name, component) in &listed {
            world = if *component { world.service(name) } else { world.upstream(name) };
        }
        world
    };
    let case = |(name, line, world, question, expect)| {
        let world = with_upstreams(world);
        Case { name, line, world, question, expect }
    };
    Ok(cases.into_iter().map(case).collect())
}

fn question(case: &Table<'_>, component: &Component) -> Read<Question> {
    let role = component.surface().role;
    let (request, tick, validate) = (case.get("request"), case.get("tick"), case.get("validate"));
    let wrong_role = |entry: &Entry<'_>, of: &str| {
        let is = role.map_or("nothing that is asked".into(), |role| role.to_string());
        Err(entry.mistake(format!(
            "`{}` is for {of}, and {} is a component of the role: {is}",
            entry.key,
            component.name()
        )))
    };
    match (request, tick, validate) {
        (Some(entry), None, None) => match role {
            Some(Role::Router | Role::Service { .. }) => {
                Ok(Question::Request(self::request(&entry.table("`request`")?)?))
            }
            _ => wrong_role(&entry, "routers and services"),
        },
        (None, Some(entry), None) => match role {
            Some(Role::Agent) => Ok(Question::Tick(entry.number(u64::MAX)?)),
            _ => wrong_role(&entry, "agents"),
        },
        (None, None, Some(entry)) => match entry.is(true) {
            true => Ok(Question::Validate),
            false => entry.mistyped("true"),
        },
        _ => Err(case.mistake("has to have one of `request`, `tick` and `validate`")),
    }
}

fn request(table: &Table<'_>) -> Read<Request> {
    let text = |key, otherwise: &str| table.get(key).map_or(Ok(otherwise.to_owned()), |entry| entry.text());
    let Some(path) = table.get("path") else { return Err(table.mistake("has no `path`")) };
    let mut request = Request::new(&text("method", "GET")?, &path.text()?)
        .scheme(&text("scheme", "https")?)
        .authority(&text("authority", "localhost")?)
        .body(text("body", "")?);
    for (name, values) in fields(table.get("fields"))? {
        for value in values {
            request = request.field(&name, &value);
        }
    }
    if let Some(entry) = table.get("client") {
        let client: Result<IpAddr, _> = entry.text()?.parse();
        request = request.client(client.map_err(|_| entry.mistake("`client` is no IP address"))?);
    }
    if let Err(error) = request.checked() {
        return Err(path.mistake(error.to_string()));
    }
    table.finish()?;
    Ok(request)
}

/// Fields with their values, in the order of the file.
pub(super) fn fields(entry: Option<Entry<'_>>) -> Read<Vec<(String, Vec<String>)>> {
    let Some(entry) = entry else { return Ok(Vec::new()) };
    let fields = entry.table("`fields`")?;
    fields.entries().into_iter().map(|entry| Ok((entry.key.to_owned(), entry.texts()?))).collect()
}

fn texts(entry: Option<Entry<'_>>, title: &str) -> Read<Vec<(String, String)>> {
    let Some(entry) = entry else { return Ok(Vec::new()) };
    entry.table(title)?.entries().into_iter().map(|entry| Ok((entry.key.to_owned(), entry.text()?))).collect()
}

fn upstreams(entry: Option<Entry<'_>>) -> Read<Vec<(String, bool)>> {
    let Some(entry) = entry else { return Ok(Vec::new()) };
    let upstream = |entry: Entry<'_>| match entry.text()?.as_str() {
        "component" => Ok((entry.key.to_owned(), true)),
        "url" => Ok((entry.key.to_owned(), false)),
        _ => Err(entry.mistake(format!("`{}` should be \"component\" or \"url\"", entry.key))),
    };
    entry.table("[upstreams]")?.entries().into_iter().map(upstream).collect()
}

fn outbound(entry: Option<Entry<'_>>, mut world: World) -> Read<World> {
    let Some(entry) = entry else { return Ok(world) };
    for origin in entry.table("[outbound]")?.entries() {
        if !World::is_origin(origin.key) {
            return Err(
                origin.mistake(format!("`{}` is no origin: write https://NAME or https://NAME:PORT", origin.key))
            );
        }
        for answer in origin.table("an origin")?.entries() {
            let table = answer.table("an answer")?;
            let status = table.get("status").map_or(Ok(200), |status| status.number(999))?;
            let mut canned = Canned::new(u16::try_from(status).unwrap_or(u16::MAX));
            for (name, values) in fields(table.get("fields"))? {
                canned = values.iter().fold(canned, |canned, value| canned.field(&name, value));
            }
            if let Some(body) = table.get("body") {
                canned = canned.body(body.text()?);
            }
            table.finish()?;
            if !canned.can_be_sent() {
                return Err(answer.mistake(format!("`{}` is no HTTP response", answer.key)));
            }
            world = world.outbound(origin.key, answer.key, canned);
        }
    }
    Ok(world)
}

struct Commit {
    revision: Option<String>,
    committed: Option<u64>,
}

impl Commit {
    fn of(&self, mut tree: Tree) -> Tree {
        if let Some(revision) = &self.revision {
            tree = tree.revision(revision);
        }
        match self.committed {
            Some(seconds) => tree.committed(seconds),
            None => tree,
        }
    }
}

fn commits<'a>(entry: Option<Entry<'a>>) -> Read<BTreeMap<String, (Entry<'a>, Commit)>> {
    let Some(entry) = entry else { return Ok(BTreeMap::new()) };
    let commit = |entry: Entry<'a>| {
        let table = entry.table(&format!("[commit.{}]", entry.key))?;
        let revision = table.get("revision").map(|revision| revision.text()).transpose()?;
        let committed = table.get("committed").map(|committed| committed.number(u64::MAX)).transpose()?;
        table.finish()?;
        // A branch without a commit has no date.
        let committed = committed.or(revision.as_deref().filter(|revision| revision.is_empty()).map(|_| 0));
        Ok((entry.key.to_owned(), (entry, Commit { revision, committed })))
    };
    entry.table("[commit]")?.entries().into_iter().map(commit).collect()
}

fn repositories(entry: Option<Entry<'_>>, path: &Path) -> Read<BTreeMap<String, Tree>> {
    let Some(entry) = entry else { return Ok(BTreeMap::new()) };
    let repository = |entry: Entry<'_>| {
        let table = entry.table(&format!("[repository.{}]", entry.key))?;
        let tree = table.entries().into_iter().try_fold(Tree::new(), |tree, entry| file(tree, &entry, path))?;
        if let Err(error) = tree.branch() {
            return Err(entry.mistake(error.to_string()));
        }
        Ok((entry.key.to_owned(), tree))
    };
    entry.table("[repository]")?.entries().into_iter().map(repository).collect()
}

fn file(tree: Tree, entry: &Entry<'_>, path: &Path) -> Read<Tree> {
    if !entry.is_table() {
        return Ok(tree.file(entry.key, entry.text()?));
    }
    let table = entry.table(&format!("`{}`", entry.key))?;
    let (text, file) = (table.get("text"), table.get("file"));
    let (symlink, submodule) = (table.get("symlink"), table.get("submodule"));
    let executable = table.get("executable").map_or(Ok(false), |flag| flag.flag())?;
    table.finish()?;
    let contents = match (text, file, symlink, submodule) {
        (Some(text), None, None, None) => text.text()?.into_bytes(),
        (None, Some(file), None, None) => {
            let beside = path.parent().unwrap_or(Path::new("")).join(file.text()?);
            std::fs::read(&beside).map_err(|error| file.mistake(format!("can't read {}: {error}", beside.display())))?
        }
        (None, None, Some(target), None) if !executable => return Ok(tree.symlink(entry.key, &target.text()?)),
        (None, None, None, Some(commit)) if !executable => return Ok(tree.submodule(entry.key, &commit.text()?)),
        _ => {
            let message = format!("`{}` should have one of `text`, `file`, `symlink` and `submodule`", entry.key);
            return Err(entry.mistake(message));
        }
    };
    Ok(if executable { tree.executable(entry.key, contents) } else { tree.file(entry.key, contents) })
}
