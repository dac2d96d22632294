//! What a case expects of an answer.

use super::reader::{Entry, Read, Table};

/// What kind of answer there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Decision,
    Response,
    Tick,
    Validation,
}

#[derive(Default)]
pub(super) struct Expect {
    pub(super) response: ExpectResponse,
    pub(super) decision: Option<ExpectDecision>,
    /// None within: not at a time.
    pub(super) next: Option<Option<u64>>,
    pub(super) problems: Option<Vec<String>>,
    pub(super) sent: Option<Vec<String>>,
    /// By binding, files of the last commit there; without any, nothing at all was published.
    pub(super) published: Option<Vec<(String, Vec<(String, String)>)>>,
    pub(super) log: Option<Vec<String>>,
    pub(super) failure: Option<String>,
}

#[derive(Default)]
pub(super) struct ExpectResponse {
    pub(super) status: Option<u64>,
    /// With no values: not there.
    pub(super) fields: Vec<(String, Vec<String>)>,
    pub(super) body: Option<String>,
    pub(super) body_contains: Vec<String>,
    pub(super) marked: Option<bool>,
}

pub(super) enum ExpectDecision {
    Forward {
        upstream: String,
        strip: Option<String>,
        add: Option<String>,
        request: Option<Changes>,
        response: Option<Changes>,
    },
    Redirect {
        status: Option<u64>,
        location: Option<String>,
    },
    Refuse(u64),
}

/// Changes to fields, as in a message: `set x-a: 1`, sorted.
pub(super) type Changes = Vec<String>;

impl Expect {
    /// What it expects a router to forward to.
    pub(super) fn upstream(&self) -> Option<&str> {
        match &self.decision {
            Some(ExpectDecision::Forward { upstream, .. }) => Some(upstream),
            _ => None,
        }
    }
}

pub(super) fn parse(table: &Table<'_>, asked: Asked) -> Read<Expect> {
    let mut expect = Expect {
        log: table.get("log").map(|log| log.texts()).transpose()?,
        failure: table.get("failure").map(|failure| failure.text()).transpose()?,
        ..Expect::default()
    };
    if matches!(asked, Asked::Response | Asked::Tick) {
        expect.sent = table.get("sent").map(|sent| sent.texts()).transpose()?;
        expect.published = table.get("published").map(|entry| published(&entry)).transpose()?;
    }
    match asked {
        Asked::Response => expect.response = response(table)?,
        Asked::Decision => expect.decision = decision(table)?,
        Asked::Tick => {
            expect.next = match table.get("next") {
                Some(next) if next.is(false) => Some(None),
                Some(next) => Some(Some(next.number(u64::MAX)?)),
                None => None,
            }
        }
        Asked::Validation => expect.problems = table.get("problems").map(|problems| problems.texts()).transpose()?,
    }
    table.finish()?;
    Ok(expect)
}

fn published(entry: &Entry<'_>) -> Read<Vec<(String, Vec<(String, String)>)>> {
    let files = |entry: &Entry<'_>| {
        let files = entry.table("a binding")?.entries().into_iter();
        files.map(|file| Ok((file.key.to_owned(), file.text()?))).collect::<Read<_>>()
    };
    let bindings = entry.table("`published`")?.entries().into_iter();
    bindings.map(|binding| Ok((binding.key.to_owned(), files(&binding)?))).collect()
}

fn response(table: &Table<'_>) -> Read<ExpectResponse> {
    let mut fields = Vec::new();
    if let Some(entry) = table.get("fields") {
        for field in entry.table("`fields`")?.entries() {
            let values = if field.is(false) { Vec::new() } else { field.texts()? };
            fields.push((field.key.to_ascii_lowercase(), values));
        }
    }
    Ok(ExpectResponse {
        status: table.get("status").map(|status| status.number(999)).transpose()?,
        fields,
        body: table.get("body").map(|body| body.text()).transpose()?,
        body_contains: table.get("body-contains").map(|body| body.texts()).transpose()?.unwrap_or_default(),
        marked: table.get("marked").map(|marked| marked.flag()).transpose()?,
    })
}

fn decision(table: &Table<'_>) -> Read<Option<ExpectDecision>> {
    let (forward, redirect, refuse) = (table.get("forward"), table.get("redirect"), table.get("refuse"));
    let text = |key| table.get(key).map(|entry| entry.text()).transpose();
    let (strip, add) = (text("strip")?, text("add")?);
    let (request, response) = (changes(table, "request")?, changes(table, "response")?);
    let beside = strip.is_some() || add.is_some() || request.is_some() || response.is_some();
    match (forward, redirect, refuse) {
        (Some(forward), None, None) => {
            Ok(Some(ExpectDecision::Forward { upstream: forward.text()?, strip, add, request, response }))
        }
        (None, Some(redirect), None) if !beside => {
            let table = redirect.table("`redirect`")?;
            let status = table.get("status").map(|status| status.number(999)).transpose()?;
            let location = table.get("location").map(|location| location.text()).transpose()?;
            table.finish()?;
            Ok(Some(ExpectDecision::Redirect { status, location }))
        }
        (None, None, Some(refuse)) if !beside => Ok(Some(ExpectDecision::Refuse(refuse.number(999)?))),
        (None, None, None) if !beside => Ok(None),
        (None, None, None) => Err(table.mistake("has `strip`, `add`, `request` or `response` without `forward`")),
        _ => Err(table.mistake("may have one of `forward` (with what goes with it), `redirect` and `refuse`")),
    }
}

fn changes(table: &Table<'_>, key: &'static str) -> Read<Option<Changes>> {
    let Some(entry) = table.get(key) else { return Ok(None) };
    let table = entry.table(&format!("`{key}`"))?;
    let mut changes = Vec::new();
    for kind in ["set", "add"] {
        let Some(fields) = table.get(kind) else { continue };
        for field in fields.table(&format!("`{kind}`"))?.entries() {
            let name = field.key.to_ascii_lowercase();
            changes.extend(field.texts()?.into_iter().map(|value| format!("{kind} {name}: {value}")));
        }
    }
    if let Some(fields) = table.get("remove") {
        changes.extend(fields.texts()?.into_iter().map(|name| format!("remove {}", name.to_ascii_lowercase())));
    }
    table.finish()?;
    changes.sort_unstable();
    Ok(Some(changes))
}
