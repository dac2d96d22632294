//! A route file, parsed and checked: what one name's requests are answered with, by prefix of the path.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

use toml::de::DeTable;

use crate::fields::{self, Change};
use crate::location;
use crate::prefix;
use crate::problem::Problem;
use crate::reader::{self, Reader, Value};

/// The routes of one name.
#[derive(Debug)]
pub(crate) struct RouteFile<'t> {
    /// The longest prefix first, so that the first that covers a path is the one.
    pub(crate) rules: Vec<Rule<'t>>,
}

/// What requests below a prefix get.
#[derive(Debug)]
pub(crate) struct Rule<'t> {
    /// Without a trailing slash; empty for the whole name.
    pub(crate) prefix: &'t str,
    pub(crate) target: Target<'t>,
    /// The byte of the file at which its target stands.
    at: usize,
}

#[derive(Debug)]
pub(crate) enum Target<'t> {
    Upstream {
        name: &'t str,
        strip: bool,
        add: Option<&'t str>,
        /// The whole name's, then the prefix's own.
        request: Vec<Change<'t>>,
        response: Vec<Change<'t>>,
    },
    Redirect {
        to: &'t str,
        status: u16,
    },
    Refuse(u16),
}

/// Reads `document`, which was parsed from `text`, and says everything that is wrong with it: then the rules are those that
/// can be read.
pub(crate) fn read<'t>(text: &'t str, document: &'t DeTable<'t>) -> (RouteFile<'t>, Vec<Problem>) {
    let mut reader = Reader::new(text);
    let rules = read_rules(&mut reader, document);
    (RouteFile { rules }, reader.into_problems())
}

impl<'t> RouteFile<'t> {
    /// The upstreams that are named, with the lines that name them.
    pub(crate) fn upstreams(&self, text: &str) -> impl Iterator<Item = (&'t str, u32)> {
        self.rules.iter().filter_map(|rule| match rule.target {
            Target::Upstream { name, .. } => Some((name, reader::line(text, rule.at))),
            Target::Redirect { .. } | Target::Refuse(_) => None,
        })
    }

    /// Where it redirects to, with the bytes of the file at which that stands.
    pub(crate) fn redirects(&self) -> impl Iterator<Item = (&'t str, usize)> {
        self.rules.iter().filter_map(|rule| match rule.target {
            Target::Redirect { to, .. } => Some((to, rule.at)),
            Target::Upstream { .. } | Target::Refuse(_) => None,
        })
    }
}

const TOP: [&str; 7] = ["upstream", "redirect", "refuse", "add", "path", "request", "response"];
const PATH: [&str; 8] = ["prefix", "upstream", "redirect", "refuse", "strip", "add", "request", "response"];

/// Prefixes of one name: each is a question about each request.
const MOST: usize = 1000;

/// Changes to the fields of a request, and of its response: the host takes no more.
const CHANGES: usize = 64;

fn read_rules<'t>(reader: &mut Reader<'t>, document: &'t DeTable<'t>) -> Vec<Rule<'t>> {
    reader.keys(document, &TOP);
    let request = read_changes(reader, "request", document);
    let response = read_changes(reader, "response", document);
    let mut rules = Vec::new();
    if TOP[..3].iter().any(|key| document.contains_key(*key)) {
        rules.extend(read_target(reader, document, &(0..0), "", &request, &response));
    } else if !document.contains_key("path") {
        reader.problem(&(0..0), "decides nothing: it needs `upstream`, `redirect`, `refuse` or a `[[path]]`");
    }
    let paths =
        document.get("path").map_or(&[][..], |paths| reader.array("path", paths, "a list of tables: `[[path]]`"));
    if let Some(beyond) = paths.get(MOST) {
        reader.problem(&beyond.span(), format!("more than {MOST} prefixes for one name"));
    }
    for path in paths.iter().take(MOST) {
        let Some(table) = reader.table("path", path) else { continue };
        reader.keys(table, &PATH);
        let Some(prefix) = read_prefix(reader, table, &path.span()) else { continue };
        let mut requests = request.clone();
        requests.extend(read_changes(reader, "request", table));
        let mut responses = response.clone();
        responses.extend(read_changes(reader, "response", table));
        rules.extend(read_target(reader, table, &path.span(), prefix, &requests, &responses));
    }
    rules.sort_by_key(|rule| (Reverse(rule.prefix.len()), rule.prefix, rule.at));
    for twice in rules.windows(2).filter(|twice| twice[0].prefix == twice[1].prefix) {
        let written = if twice[0].prefix.is_empty() { "/" } else { twice[0].prefix };
        reader.problem(&(twice[1].at..twice[1].at), format!("`{written}` is decided twice in this file"));
    }
    rules
}

fn read_prefix<'t>(reader: &mut Reader<'t>, table: &'t DeTable<'t>, at: &Range<usize>) -> Option<&'t str> {
    let Some(value) = table.get("prefix") else {
        reader.problem(at, "a `[[path]]` needs a `prefix`");
        return None;
    };
    let written = reader.string("prefix", value)?;
    prefix::parse(written).map_err(|wrong| reader.problem(&value.span(), quoted("prefix", written, wrong))).ok()
}

/// The one of `upstream`, `redirect` and `refuse` that `table` has, with what belongs to it.
fn read_target<'t>(
    reader: &mut Reader<'t>,
    table: &'t DeTable<'t>,
    at: &Range<usize>,
    prefix: &'t str,
    request: &[Change<'t>],
    response: &[Change<'t>],
) -> Option<Rule<'t>> {
    let mut targets = ["upstream", "redirect", "refuse"].into_iter().filter_map(|key| Some((key, table.get(key)?)));
    let Some((key, value)) = targets.next() else {
        reader.problem(at, "decides nothing: it needs `upstream`, `redirect` or `refuse`");
        return None;
    };
    if let Some((other, value)) = targets.next() {
        reader.problem(&value.span(), format!("`{key}` and `{other}` exclude each other"));
    }
    let strip = table.get("strip").and_then(|value| reader.boolean("strip", value)).unwrap_or(false);
    let add = table.get("add").and_then(|value| {
        let written = reader.string("add", value)?;
        prefix::parse(written).map_err(|wrong| reader.problem(&value.span(), quoted("add", written, wrong))).ok()
    });
    if key != "upstream" {
        // At the top, fields are for every upstream of the file.
        let own: &[&str] =
            if table.contains_key("prefix") { &["strip", "add", "request", "response"] } else { &["add"] };
        for misplaced in own {
            if let Some(value) = table.get(*misplaced) {
                reader.problem(&value.span(), format!("`{misplaced}` goes with `upstream`, not with `{key}`"));
            }
        }
    }
    for (fields, changes) in [("request", request), ("response", response)] {
        if key == "upstream" && changes.len() > CHANGES {
            reader.problem(&value.span(), format!("more than {CHANGES} changes to the fields of one {fields}"));
        }
    }
    let target = match key {
        "upstream" => Target::Upstream {
            name: reader.string(key, value)?,
            strip: strip && !prefix.is_empty(),
            add: add.filter(|add| !add.is_empty()),
            request: request.to_vec(),
            response: response.to_vec(),
        },
        "redirect" => read_redirect(reader, value)?,
        _ => Target::Refuse(reader.status(
            key,
            value,
            |status| (400..=599).contains(&status),
            "a status from 400 to 599",
        )?),
    };
    Some(Rule { prefix, target, at: value.span().start })
}

fn read_redirect<'t>(reader: &mut Reader<'t>, value: &'t Value<'t>) -> Option<Target<'t>> {
    let table = reader.table("redirect", value)?;
    reader.keys(table, &["to", "status"]);
    let status = match table.get("status") {
        Some(value) => reader.status(
            "status",
            value,
            |status| matches!(status, 301 | 302 | 303 | 307 | 308),
            "301, 302, 303, 307 or 308",
        ),
        // What it was asked with is kept, and the answer may be remembered.
        None => Some(308),
    };
    let Some(to) = table.get("to") else {
        reader.problem(&value.span(), "a `redirect` needs a `to`");
        return None;
    };
    let written = reader.string("to", to)?;
    if let Err(wrong) = location::check(written) {
        reader.problem(&to.span(), quoted("to", written, wrong));
    }
    Some(Target::Redirect { to: written, status: status? })
}

/// The `set`, `add` and `remove` of a `[request]` or `[response]` table, in the order in which they are applied: what is
/// removed first, so that `set` and `add` have the last word.
fn read_changes<'t>(reader: &mut Reader<'t>, key: &str, table: &'t DeTable<'t>) -> Vec<Change<'t>> {
    let Some(value) = table.get(key) else { return Vec::new() };
    let Some(table) = reader.table(key, value) else { return Vec::new() };
    reader.keys(table, &["set", "add", "remove"]);
    let mut changes = Vec::new();
    if let Some(value) = table.get("remove") {
        for name in reader.array("remove", value, "a list of names") {
            let Some(written) = reader.string("remove", name) else { continue };
            check(reader, &name.span(), fields::check_name(written));
            changes.push(Change::Remove(written));
        }
    }
    for (key, change) in [("set", Change::Set as fn(&'t str, &'t str) -> Change<'t>), ("add", Change::Add)] {
        let Some(value) = table.get(key) else { continue };
        let Some(table) = reader.table(key, value) else { continue };
        for (name, value) in table {
            check(reader, &name.span(), fields::check_name(name.get_ref()));
            let values = match value.get_ref().as_array() {
                Some(array) if key == "add" => array.as_ref(),
                _ => core::slice::from_ref(value),
            };
            for value in values {
                let Some(written) = reader.string(name.get_ref(), value) else { continue };
                check(reader, &value.span(), fields::check_value(written).map_err(String::from));
                changes.push(change(name.get_ref(), written));
            }
        }
    }
    changes
}

fn check(reader: &mut Reader<'_>, at: &Range<usize>, checked: Result<(), String>) {
    if let Err(wrong) = checked {
        reader.problem(at, wrong);
    }
}

pub(crate) fn quoted(key: &str, written: &str, wrong: &str) -> String {
    format!("`{key}` is \"{}\": {wrong}", written.escape_debug())
}
