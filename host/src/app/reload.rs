//! A reload: one transaction. The manifest is read again; its listeners are bound and all changed generations proved; then
//! all switch, or nothing does.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use anyhow::Context as _;
use atoll_runtime::{Change, Code, Level, Prepared, Role, Slot};
use futures_util::future;
use tokio::task::{block_in_place, spawn_blocking};

use super::{
    begins,
    bindings::{Binding, Bindings},
    components::{self, problem},
    files,
    front::Front,
    hooks,
    host::{Codes, Components, Elsewhere, Host},
    running::Running,
};
use crate::{
    control::messages::{Refusal, Reloaded},
    manifest::{self, Loaded, Manifest, Options},
    problem::{Problem, Problems},
    text::chain,
};

/// How long a remote may take to answer for the first time.
const FIRST: Duration = Duration::from_secs(10);

/// Of what takes longer.
const UNPROVED: &str = "what it reads now is still being proved: `host ps` tells how that ends";

/// Reads the manifest again, and serves by it.
pub(super) async fn reload(host: &Arc<Host>, front: &Arc<Front>) -> Result<Reloaded, Refusal> {
    let reloaded = read_again(host, front).await;
    let words = reloaded.as_ref().err().map(|refusal| {
        let problems = refusal.problems.iter().map(ToString::to_string);
        std::iter::once(refusal.message.clone()).chain(problems).collect::<Vec<_>>().join("\n")
    });
    if let Some(words) = &words {
        host.say(Level::Error, format!("reload: {words}"));
    }
    host.not_reloaded.store(words.map(Arc::new));
    reloaded
}

async fn read_again(host: &Arc<Host>, front: &Arc<Front>) -> Result<Reloaded, Refusal> {
    let mut current = host.manifest.lock().await;
    let options = host.options.clone();
    let loaded = spawn_blocking(move || again(&options)).await;
    let loaded = loaded.map_err(|_| Refusal::new("the manifest could not be read"))?.map_err(mistakes)?;
    for warning in &loaded.warnings {
        host.say(Level::Warning, warning.to_string());
    }
    let switched = switch(host, front, &current, &loaded.manifest).await.map_err(|error| match error.downcast() {
        Ok(problems) => mistakes(problems),
        Err(error) => mistakes(Problems(vec![Problem::new(chain(error.as_ref()))])),
    })?;
    *current = loaded.manifest;
    host.say(Level::Info, "reloaded".to_owned());
    let Switched { components, certificates, others, warnings } = switched;
    let (late, disproved): (Vec<_>, Vec<_>) = unfollowed(host, others).await.into_iter().unzip();
    let mut disproved = disproved.concat();
    let mut warnings = [loaded.warnings, warnings, late.concat()].concat();
    for (by_manifest, problem) in pending(host, &disproved).await {
        if by_manifest { &mut disproved } else { &mut warnings }.push(problem);
    }
    Ok(Reloaded { components, certificates, warnings, disproved })
}

/// Loads the manifest once more. Blocks.
fn again(options: &Options) -> Result<Loaded, Problems> {
    if let Some(path) = &options.manifest
        && fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
    {
        // It gave what it had at the start.
        let words = format!("{} is not a file, and can't be read again", path.display());
        return Err(Problems(vec![Problem::new(words)]));
    }
    let mut loaded = manifest::load(options)?;
    loaded.warnings.extend(files::read(&loaded.manifest)?);
    Ok(loaded)
}

async fn switch(
    host: &Arc<Host>,
    front: &Arc<Front>,
    current: &Manifest,
    manifest: &Manifest,
) -> anyhow::Result<Switched> {
    let (bindings, elsewhere) = block_in_place(|| host.follow(manifest, &host.bindings.load()))?;
    let bindings = Arc::new(bindings);
    future::join_all(bindings.values().map(|binding| binding.first(FIRST))).await;
    let (mut codes, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, code) in host.load(manifest.components.values()).await {
        match code {
            Ok(code) => drop(codes.insert(name, code)),
            Err(error) => problems.extend(manifest.components.get(&name).map(|said| problem(said, &error))),
        }
    }
    if !problems.is_empty() {
        return Err(anyhow::Error::new(Problems(problems)));
    }
    let role = |said: &manifest::Component| codes.get(&said.name).and_then(|code| code.surface().role);
    let roles: Vec<_> = manifest.components.values().map(|said| (said, role(said))).collect();
    if let Some(problem) = components::second_router(roles.iter().copied()) {
        return Err(anyhow::Error::new(Problems(vec![problem])));
    }
    let problems = begins::refused(&host.components.load(), manifest, &codes, &bindings, &elsewhere);
    if !problems.is_empty() {
        return Err(anyhow::Error::new(Problems(problems)));
    }
    let upstreams = host.upstreams(manifest, &codes);
    let fronted = block_in_place(|| front.prepare(manifest))?;
    let (mut warnings, certificates) = (fronted.warnings.clone(), fronted.renewed.clone());
    let roles = roles.into_iter().map(|(said, role)| (&*said.name, role));
    warnings.extend(components::nobody_decides(roles).map(Problem::new));

    // Proofs keep revisions in the repositories of the bindings that are new, too.
    let before = host.bindings.load_full();
    let both = before.iter().chain(bindings.iter()).map(|(name, binding)| (name.clone(), binding.clone())).collect();
    // What serves meanwhile is written down by those of before.
    host.bindings.store(Arc::new(both));
    let proved = prove(host, manifest, &codes, &upstreams, &bindings, &elsewhere).await;
    let Proved { components, prepared, mut changed, later } = match proved {
        Ok(proved) => proved,
        Err(error) => {
            host.bindings.store(before);
            return Err(error);
        }
    };
    front.widen(&fronted, &host.components.load(), &components, current);
    let (routers, others): (Vec<_>, Vec<_>) = prepared.into_iter().partition(|(role, _)| *role == Some(Role::Router));
    future::join_all(others.into_iter().map(|(_, prepared)| prepared.switch())).await;
    future::join_all(routers.into_iter().map(|(_, prepared)| prepared.switch())).await;
    changed.sort();
    // What was refused before is over: all that the manifest names was read and proved.
    let former = host.components.load_full();
    for (name, running) in &components {
        running.slot.pardon();
        // Nor does the file of before wait where this one serves.
        let other = |code: &&Arc<Code>| former.get(name).is_some_and(|old| old.file() != Some(code.digest()));
        let serves =
            |code: &&Arc<Code>| running.slot.serving().is_some_and(|serving| serving.digest() == code.digest());
        if let Some(code) = codes.get(name).filter(other).filter(serves) {
            running.slot.notify(vec![Change::Code(code.clone())]).await;
        }
    }
    host.bindings.store(bindings.clone());
    front.switch(&components, fronted, manifest);
    for (name, binding) in bindings.iter() {
        binding.heed(manifest.bindings.get(name).and_then(|said| said.hook.clone()));
    }
    let stays = |binding: &Arc<Binding>| !elsewhere.iter().any(|(said, _)| said.name == binding.said().name);
    let lacking = |binding: &Arc<Binding>| binding.revision().is_none() || binding.error().is_some();
    let others = bindings.values().filter(|binding| stays(binding) && lacking(binding));
    let others = others.map(|binding| binding.said().clone());
    let others = others.chain(elsewhere.iter().map(|(said, _)| said.clone())).collect();
    // It serves: what can't be followed any more is no reason to say that nothing was changed.
    if let Err(error) = host.follow_elsewhere(elsewhere) {
        let words = chain(error.as_ref());
        warnings.push(Problem::new(words.clone()));
        host.say(Level::Error, words);
    }
    for (slot, changes) in later {
        slot.notify(changes).await;
    }
    // Who followed a binding until now may have known of a head that nobody was told of.
    host.adopt(components).await;
    Ok(Switched { components: changed, certificates, others, warnings })
}

/// What a reload came to.
struct Switched {
    /// Those that have a new generation.
    components: Vec<String>,
    /// Those that are others now.
    certificates: Vec<String>,
    /// Bindings of which nothing is here yet, which could not be fetched, or whose remote is another one now.
    others: Vec<manifest::Binding>,
    warnings: Vec<Problem>,
}

/// Why each of these bindings does not stand at what its remote has, and why what it has is not served.
async fn unfollowed(host: &Host, others: Vec<manifest::Binding>) -> Vec<(Vec<Problem>, Vec<Problem>)> {
    let fetched = others.into_iter().map(|said| async move {
        let Some(binding) = host.bindings.load().get(&said.name).cloned() else { return Default::default() };
        let still = if binding.revision().is_some() { "; what was fetched before is served" } else { "" };
        let problem = |words: String| said.place.problem(format!("[git.{}]: {words}", said.name));
        match tokio::time::timeout(FIRST, hooks::fetch(&binding)).await {
            Err(_) => {
                let words = format!("has not been fetched in {FIRST:?}{still}");
                // Of all else the log has heard already.
                host.say(Level::Warning, format!("binding {}: {words}", said.name));
                (vec![problem(words)], Vec::new())
            }
            Ok(Err(words)) => (vec![problem(format!("can't be fetched{still}: {words}"))], Vec::new()),
            Ok(Ok(())) => {
                let components = host.components.load_full();
                let Ok((_, proofs)) = tokio::time::timeout(FIRST, hooks::pass_on(&binding, &components)).await else {
                    return (vec![problem(UNPROVED.to_owned())], Vec::new());
                };
                let proofs = proofs.into_iter();
                let failed = proofs.filter_map(|(name, disproof)| Some((name, disproof?)));
                let words = failed.filter_map(|(name, why)| {
                    Some(format!("{name} {}: {why}", meanwhile(components.get(&name)?, &host.bindings.load())))
                });
                (Vec::new(), words.map(problem).collect())
            }
        }
    });
    future::join_all(fetched).await
}

/// What waits, to serve by something else than the manifest, or by what that says, and why it does not; but for what is `told`
/// already.
async fn pending(host: &Host, told: &[Problem]) -> Vec<(bool, Problem)> {
    let components = host.components.load_full();
    let waits = components.values().map(|running| async {
        let problem = |words: String| running.said.place.problem(format!("[component.{}]: {words}", running.said.name));
        // It may just be proved.
        if tokio::time::timeout(FIRST, running.slot.change(Vec::new())).await.is_err() {
            return Some((false, problem(UNPROVED.to_owned())));
        }
        let why = running.slot.error()?.to_string();
        let told = told.iter().any(|problem| problem.message.ends_with(&why));
        let words = || format!("{}: {why}", meanwhile(running, &host.bindings.load()));
        (!told).then(|| (running.slot.is_unproved(), problem(words())))
    });
    future::join_all(waits).await.into_iter().flatten().collect()
}

/// What becomes of a component whose newest candidate is not proved.
fn meanwhile(running: &Running, bindings: &Bindings) -> &'static str {
    let Some(serving) = running.slot.serving() else { return "serves nothing" };
    let lasts = running.said.git.iter().all(|(known, grant)| {
        let from = serving.inputs().branches.get(&**known).map(|branch| branch.origin()).unwrap_or_default();
        from.is_empty() || bindings.get(&grant.from).is_none_or(|binding| binding.identity() == from)
    });
    // What came from another remote is none of today's, to a host that starts.
    if lasts { "goes on serving what it did" } else { "goes on serving what it did, until the host is restarted" }
}

/// What can be switched to.
#[derive(Default)]
struct Proved {
    components: Components,
    prepared: Vec<(Option<Role>, Prepared)>,
    changed: Vec<String>,
    /// What is proved after that, since it is no reason to change nothing.
    later: Vec<(Arc<Slot>, Vec<Change>)>,
}

async fn prove(
    host: &Arc<Host>,
    manifest: &Manifest,
    codes: &Codes,
    upstreams: &Arc<[atoll_runtime::Upstream]>,
    bindings: &Arc<Bindings>,
    elsewhere: &[Elsewhere],
) -> anyhow::Result<Proved> {
    let running = host.components.load_full();
    let mut proved = Proved::default();
    for said in manifest.components.values() {
        let name = &said.name;
        let code = codes.get(name).cloned().context("all codes were loaded")?;
        let (digest, role) = (code.digest(), code.surface().role);
        let wrong = |error: anyhow::Error| anyhow::Error::new(Problems(vec![problem(said, &error)]));
        let Some(old) = running.get(name) else {
            let new = host.put(said, Some(code.clone()), upstreams.clone(), bindings, true).await.map_err(wrong)?;
            let first = new.slot.prepare(vec![Change::Code(code)]).await.map_err(|disproof| wrong(disproof.into()))?;
            proved.prepared.push((role, first));
            proved.components.insert(name.clone(), Arc::new(new));
            proved.changed.push(name.to_string());
            continue;
        };
        let mut changes = Vec::new();
        if old.said.hash != said.hash {
            let table = host.loader.table(said).map_err(wrong)?;
            let branches = components::branches(&table, bindings).map_err(wrong)?;
            changes.push(Change::Table(table, branches));
        }
        if old.lacks(digest) {
            changes.push(Change::Code(code));
        }
        if role == Some(Role::Router) {
            let named = old.slot.serving().map(|serving| serving.inputs().upstreams.clone());
            if named.as_ref() != Some(upstreams) {
                changes.push(Change::Upstreams(upstreams.clone()));
            }
        }
        // What serves may be sending requests where nobody would be any more.
        let there = |name: &str| upstreams.iter().any(|upstream| upstream.name == name);
        let serving = old.slot.serving();
        let loses = serving
            .as_ref()
            .is_some_and(|serving| serving.inputs().upstreams.iter().any(|upstream| !there(&upstream.name)));
        // What goes on serving is what its role says.
        let moves = (serving.is_none() || role == old.role) && reads_any(said, elsewhere);
        let later = old.fails_by_itself(said, digest) || !old.is_proved() && moves;
        if later && !loses {
            proved.later.push((old.slot.clone(), changes));
        } else if !changes.is_empty() || old.slot.is_unproved() {
            let next = old.slot.prepare(changes).await.map_err(|disproof| wrong(disproof.into()))?;
            proved.prepared.push((role, next));
            proved.changed.push(name.to_string());
        }
        let again: Running = old.again(said.clone(), Some(digest), role);
        proved.components.insert(name.clone(), Arc::new(again));
    }
    Ok(proved)
}

/// Whether it reads a branch that comes from another remote from now on.
fn reads_any(said: &manifest::Component, elsewhere: &[Elsewhere]) -> bool {
    said.git.values().any(|grant| elsewhere.iter().any(|(moved, _)| moved.name == grant.from))
}

fn mistakes(problems: Problems) -> Refusal {
    Refusal { message: "nothing was changed".into(), problems: problems.0 }
}
