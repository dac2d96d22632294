//! A manifest's document: its tables, read one after the other, and what they say of one another.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    AccessLog, Binding, Component, Manifest, Mode, Name, Pair, TableHash, binding, component, limits, listen,
    reader::{Table, list},
    source::Source,
    upstream,
};
use crate::{
    problem::{Place, Problem},
    text::{nearest, quoted},
};

/// Whole only if nothing was reported to the source. `binds` stand in for bindings of the same name.
pub(super) fn read(source: &Source, files: &BTreeMap<Name, PathBuf>, binds: Vec<Binding>) -> Option<Manifest> {
    let document = source.parse()?;
    let mut root = Table::root(source, &document);
    let listen = listen::read(root.table("listen"));
    let mut defined = binds.iter().map(|binding| binding.name.clone()).collect::<BTreeSet<_>>();
    let mut bindings = BTreeMap::new();
    for (name, table) in root.tables("git") {
        defined.insert(name.clone());
        bindings.extend(binding::read(name.clone(), table).map(|binding| (name, binding)));
    }
    bindings.extend(binds.into_iter().map(|binding| (binding.name.clone(), binding)));

    let mut upstreams = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, table) in root.tables("upstream") {
        places.insert(name.clone(), table.place());
        upstreams.extend(upstream::read(name.clone(), table).map(|upstream| (name, upstream)));
    }
    let mut components = BTreeMap::new();
    let tables = root.tables("component");
    if tables.is_empty() {
        source.add(Place { file: Some(source.name().clone()), line: None }.problem(nothing_runs(files)));
    }
    for (name, table) in tables {
        if let Some(Place { line: Some(line), .. }) = places.get(&name) {
            table.report(format!("has the name of the upstream in line {line}: a route could mean either"));
        }
        let argument = files.get(&name).map(PathBuf::as_path);
        let Some(component::Draft { mut component, grants }) = component::read(name.clone(), table, argument) else {
            continue;
        };
        check_grants(source, &component, &grants, &defined);
        component.hash = TableHash::of(&component, &bindings);
        components.insert(name, component);
    }
    let certificates = root.rows("certificate").into_iter().filter_map(pair).collect();
    let answers = answers(root.table("memory"));
    let access = access(root.table("log"));
    let limits = limits::read(root.table("limits"));
    root.finish();
    Some(Manifest { listen, bindings, upstreams, components, certificates, answers, access, limits })
}

/// What a manifest that may be used will be regretted for.
pub(super) fn warnings(source: &Source, manifest: &Manifest, files: &BTreeMap<Name, PathBuf>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (name, path) in files.iter().filter(|(name, _)| !manifest.components.contains_key(*name)) {
        let place = Place { file: Some(source.name().clone()), line: None };
        warnings.push(place.problem(format!(
            "component `{name}` has no table and is left out; to run it add this, and the grants that `host inspect {}` shows\n{}",
            path.display(),
            table_of(name, path)
        )));
    }
    let granted = manifest.components.values().flat_map(|component| component.git.values().map(|grant| &grant.from));
    let granted = granted.collect::<BTreeSet<_>>();
    for binding in manifest.bindings.values() {
        let name = &binding.name;
        if !granted.contains(name) {
            warnings.push(binding.place.problem(format!("binding `{name}` is granted to no component")));
        }
    }
    let away = manifest.listen.https.iter().find(|address| !address.at.ip().is_loopback());
    if let Some(address) = away.filter(|_| manifest.certificates.is_empty()) {
        let words =
            format!("{} has no certificate to show: add a [[certificate]], or every client is refused", address.at);
        warnings.push(manifest.listen.place.problem(words));
    }
    warnings
}

fn check_grants(source: &Source, component: &Component, places: &BTreeMap<Name, Place>, defined: &BTreeSet<Name>) {
    for (name, grant) in &component.git {
        let place = places.get(name).cloned().unwrap_or_default();
        let from = &grant.from;
        if !defined.contains(from) {
            let hint = match nearest(from, defined.iter().map(|name| &**name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if from == name && !defined.is_empty() => {
                    let other = defined.iter().next().filter(|_| defined.len() == 1).map_or("BINDING", |only| only);
                    let mode = if grant.mode == Mode::Write { "write" } else { "read" };
                    let key = if name.contains('.') { format!("\"{name}\"") } else { name.to_string() };
                    format!(
                        "define it in a table [git.{key}], or give it another one: {key} = {{ from = \"{other}\", mode = \"{mode}\" }}"
                    )
                }
                None => format!("define it in a table [git.{from}]"),
            };
            source.add(place.problem(format!("there is no binding `{from}`; {hint}")));
        }
    }
}

fn pair(mut table: Table<'_>) -> Option<Pair> {
    let place = table.place();
    let chain = table.required("chain", "a PEM file").and_then(|entry| entry.file());
    let key = table.required("key", "a PEM file").and_then(|entry| entry.private_file());
    table.finish();
    Some(Pair { chain: chain?, key: key?, place })
}

fn answers(mut table: Table<'_>) -> u64 {
    let answers = table.size("answers", super::ANSWERS, 0..=1 << 40);
    table.finish();
    answers
}

fn access(mut table: Table<'_>) -> AccessLog {
    let access = table.text("access", |text| match text {
        "json" => Ok(AccessLog::Json),
        "combined" => Ok(AccessLog::Combined),
        "off" => Ok(AccessLog::Off),
        _ => Err(format!("{} is none of {}", quoted(text), list(&["json", "combined", "off"]))),
    });
    table.finish();
    access.unwrap_or_default()
}

fn nothing_runs(files: &BTreeMap<Name, PathBuf>) -> String {
    match files.iter().next() {
        Some((name, path)) => format!("has no component; to run `{name}` add\n{}", table_of(name, path)),
        None => "has no component: add a table [component.NAME] with its `path`".into(),
    }
}

/// The table that a component without one would need at least.
fn table_of(name: &Name, path: &std::path::Path) -> String {
    // A name with a dot would be two keys.
    let key = if name.contains('.') { format!("\"{name}\"") } else { name.to_string() };
    let path = toml::Value::from(path.to_string_lossy().into_owned());
    format!("[component.{key}]\npath = {path}")
}
