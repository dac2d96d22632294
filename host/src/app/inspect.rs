//! What can be told of components without serving them: `host inspect`, `host check`, `host test`, and the child that
//! compiles.

use std::{io, path::Path, sync::Arc};

use anyhow::Context as _;
use atoll_runtime::{Draft, Role, Surface, needed_grants};

use super::{
    components::{self, Loader, nobody_decides, second_router},
    files,
    rehearsal::Rehearsal,
    remotes,
};
use crate::{
    cli::{CaseOutcome, Inspection},
    manifest::{Manifest, Mode},
    problem::Problem,
    text::chain,
};

/// What a component says of itself.
pub fn inspect(component: &Path) -> anyhow::Result<Inspection> {
    let code = Loader::new(None)?.file(component)?;
    let Surface { imports, exports, role, .. } = code.surface().clone();
    let grants = needed_grants(code.surface()).into_iter().map(str::to_owned).collect();
    Ok(Inspection {
        digest: code.digest().to_string(),
        role: role.map(|role: Role| role.to_string()),
        imports,
        exports,
        grants,
    })
}

/// What `check` found.
pub struct Checked {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// What is wrong that only the components' own bytes, the certificates and other files show.
pub fn check(manifest: &Manifest) -> anyhow::Result<Checked> {
    let loader = Loader::new(None)?;
    let rehearsal = Rehearsal::new(loader.engine.clone())?;
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut problems, mut useless) = (Vec::new(), Vec::new());
    // Of many tables of one file it is compiled once.
    let (mut roles, mut codes) = (Vec::new(), Vec::new());
    for said in manifest.components.values() {
        let checked = loader.file(&said.path).and_then(|code| {
            roles.push((said, code.surface().role));
            codes.push(code.clone());
            let draft = Draft {
                code: Some(code),
                table: loader.table(said)?,
                branches: std::collections::BTreeMap::new(),
                upstreams: Arc::default(),
            };
            Ok(threads.block_on(rehearsal.of(&said.name, draft))?)
        });
        match checked {
            Ok(words) => {
                useless.extend(words.into_iter().map(|words| components::problem(said, &anyhow::Error::msg(words))));
            }
            Err(error) => problems.push(components::problem(said, &error)),
        }
    }
    problems.extend(second_router(roles.iter().copied()));
    let (wrong, certificates) = super::certificates::check(manifest);
    problems.extend(wrong);
    let (bad, regretted) = files::check(manifest);
    problems.extend(bad);
    // Of one that can't be loaded nobody knows what it is.
    let all = roles.len() == manifest.components.len();
    let roles = roles.into_iter().map(|(said, role)| (&*said.name, role));
    let decided = if all { nobody_decides(roles) } else { None };
    let unfetched = manifest.bindings.values().flat_map(|said| {
        let reasons = remotes::look(said).into_iter();
        reasons.map(|why| said.place.problem(format!("[git.{}]: can't be fetched: {}", said.name, chain(why.as_ref()))))
    });
    let warnings = decided.map(Problem::new).into_iter().chain(useless).chain(certificates).chain(regretted);
    let warnings = warnings.chain(unfetched);
    let warnings = warnings.chain(unpushed(manifest)).collect();
    Ok(Checked { problems, warnings })
}

/// Of what may be written: where no push could succeed.
fn unpushed(manifest: &Manifest) -> impl Iterator<Item = Problem> {
    let grants = manifest.components.values().flat_map(|said| said.git.values().map(move |grant| (said, grant)));
    let writing = grants.filter(|(_, grant)| grant.mode == Mode::Write);
    writing.filter_map(|(said, grant)| {
        let why = remotes::look_at_pushing(manifest.bindings.get(&grant.from)?)?;
        let words = format!("[component.{}]: can't push to `{}`: {}", said.name, grant.from, chain(&why));
        Some(said.place.problem(words))
    })
}

/// Runs each case and reports it.
pub fn test(
    component: &Path,
    cases: &Path,
    report: &mut dyn FnMut(&CaseOutcome) -> io::Result<()>,
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(cases).with_context(|| format!("{} can't be read", cases.display()))?;
    let compiler = Loader::new(None)?.compiler;
    let component = atoll_testkit::Component::load_with(&compiler, component)?;
    for outcome in atoll_testkit::cases::run(&component, &text, cases)?.outcomes {
        let line = |difference: &atoll_testkit::cases::Difference| {
            format!(
                "{}: expected {}\n{}: got      {}",
                difference.what, difference.expected, difference.what, difference.got
            )
        };
        let lines: Vec<String> =
            outcome.differences.iter().map(line).chain(outcome.log.iter().map(|line| format!("log: {line}"))).collect();
        let difference = (!outcome.differences.is_empty()).then(|| lines.join("\n"));
        report(&CaseOutcome { name: outcome.name, took: outcome.took, difference })?;
    }
    Ok(())
}

/// The compiling child: a component in, compiled code out, within bounds.
pub fn compile() -> anyhow::Result<()> {
    atoll_runtime::compile_as_child().map_err(anyhow::Error::msg)
}
