//! The manifest of a host that was started without one: this machine alone, the components that were given, and for those
//! whose names we know, what they need.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{Binding, Component, Grant, Limits, Listen, Manifest, Mode, Name, Remote, TableHash};
use crate::problem::{Place, Problem};

/// What a component of this name reads by itself.
const READS: [(&str, &str); 2] = [("site", "pages"), ("router", "routes")];

/// The branch of the repositories that are made for it.
const BRANCH: &str = "main";

/// That of `binds` are read by none of the components, of each of which we know what it reads.
pub(super) fn warnings(manifest: &Manifest, binds: &[Binding]) -> Vec<Problem> {
    let reads = |component: &Name| READS.iter().find(|(known, _)| *known == &**component);
    let Some(reads) = manifest.components.keys().map(reads).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let said = reads.iter().map(|(component, binding)| format!("{component} reads `{binding}`")).collect::<Vec<_>>();
    let unread = binds.iter().filter(|bind| !reads.iter().any(|(_, binding)| *binding == &*bind.name));
    let words = |bind: &Binding| format!("--bind {}: nobody reads it; {}", bind.name, said.join(", and "));
    unread.map(|bind| Problem::new(words(bind))).collect()
}

/// `binds` are read by every component, but for those of which we know what they read; they stand in for a binding of ours of
/// the same name.
pub(super) fn manifest(state: &Path, files: &BTreeMap<Name, PathBuf>, binds: Vec<Binding>) -> Manifest {
    let mut bindings = binds.into_iter().map(|binding| (binding.name.clone(), binding)).collect::<BTreeMap<_, _>>();
    let read_by_all = bindings.keys().cloned().collect::<Vec<_>>();
    let mut components = BTreeMap::new();
    for (name, path) in files {
        let own = READS
            .iter()
            .find(|(component, _)| *component == &**name)
            .map(|(_, binding)| Name::parse(binding).expect("our own names are names"));
        if let Some(own) = &own {
            bindings.entry(own.clone()).or_insert_with(|| ours(state, own));
        }
        let reads = own.map_or_else(|| read_by_all.clone(), |own| vec![own]);
        let git = reads.into_iter().map(|name| (name.clone(), Grant { from: name, mode: Mode::Read })).collect();
        components.insert(name.clone(), component(name, path, git));
    }
    for component in components.values_mut() {
        component.hash = TableHash::of(component, &bindings);
    }
    Manifest { bindings, components, ..Manifest::new(Listen::default()) }
}

/// A repository in the state directory to push to; apart from `git/`, where the host's copies are.
fn ours(state: &Path, name: &Name) -> Binding {
    let remote = Remote::Local(state.join("remotes").join(format!("{name}.git")));
    Binding { ours: true, ..Binding::new(name.clone(), remote, Some(BRANCH.into())) }
}

fn component(name: &Name, path: &Path, git: BTreeMap<Name, Grant>) -> Component {
    Component {
        name: name.clone(),
        path: path.to_owned(),
        git,
        http: BTreeSet::new(),
        env: BTreeMap::new(),
        probe: None,
        limits: Limits::default(),
        hash: TableHash::default(),
        place: Place::default(),
    }
}
