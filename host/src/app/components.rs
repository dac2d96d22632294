//! The manifest's components: their files read and compiled, their tables turned into what the runtime grants.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use atoll_net::{Client, Tls};
use atoll_runtime::{
    Branch, Code, Compiler, Digest, Draft, Engine, GrantedBranch, Inputs, Limits, Mode, Nowhere, Outbound, Publication,
    Role, Start, Table, Upstream,
};

use super::{
    bindings::Bindings,
    client,
    ledger::{self, Proved},
    outbound::Origins,
    publishing::GitPublication,
};
use crate::{
    control::LARGEST_COMPONENT,
    manifest::{self, Manifest, Name},
    problem::Problem,
    text::chain,
};

/// What loads components.
pub(super) struct Loader {
    pub engine: Engine,
    pub compiler: Compiler,
    /// What guests' requests go through.
    pub client: Client,
    pub tls: Tls,
    /// What guests write to; the host's own, whatever a reload makes of them.
    pub bindings: Arc<ArcSwap<Bindings>>,
    loaded: Mutex<HashMap<Digest, Loaded>>,
}

/// Of one digest; held while it is compiled, so that of many components of one file the first compiles it for all.
type Loaded = Arc<Mutex<Weak<Code>>>;

impl Loader {
    /// A loader; compiled code is kept where a folder is given.
    pub(super) fn new(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        // The very program that runs, though its file was replaced meanwhile.
        let program = "/proc/self/exe".into();
        let compiler = Compiler::in_child(program, vec!["compile".into()], kept);
        let (client, tls) = client();
        Ok(Self { engine: Engine::new()?, compiler, client, tls, bindings: Arc::default(), loaded: Mutex::default() })
    }

    /// Reads and compiles a file. Blocks.
    pub(super) fn file(&self, path: &Path) -> anyhow::Result<Arc<Code>> {
        let bytes = read(path).with_context(|| format!("{} can't be read", path.display()))?;
        self.bytes(bytes).with_context(|| path.display().to_string())
    }

    /// Compiles bytes, unless somebody has them. Blocks.
    pub(super) fn bytes(&self, bytes: Vec<u8>) -> anyhow::Result<Arc<Code>> {
        let loaded = {
            let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, loaded| Arc::strong_count(loaded) > 1 || held(loaded).strong_count() > 0);
            all.entry(Digest::of(&bytes)).or_default().clone()
        };
        let mut loaded = held(&loaded);
        if let Some(code) = loaded.upgrade() {
            return Ok(code);
        }
        let code = Arc::new(self.compiler.load(&self.engine, bytes)?);
        *loaded = Arc::downgrade(&code);
        Ok(code)
    }

    fn publication(&self, name: &Name, grant: &manifest::Grant) -> Option<(String, Arc<dyn Publication>)> {
        let publication = Arc::new(GitPublication::new(&self.bindings, &grant.from));
        (grant.mode == manifest::Mode::Write).then_some((name.to_string(), publication))
    }

    pub(super) fn table(&self, said: &manifest::Component) -> anyhow::Result<Arc<Table>> {
        let granted = |grant: &manifest::Grant| GrantedBranch {
            binding: grant.from.to_string(),
            mode: match grant.mode {
                manifest::Mode::Read => Mode::Read,
                manifest::Mode::Write => Mode::Write,
            },
        };
        let outbound: Arc<dyn Outbound> = match said.http.is_empty() {
            true => Arc::new(Nowhere),
            false => Arc::new(Origins::new(&self.client, &self.tls, &said.http).map_err(anyhow::Error::msg)?),
        };
        Ok(Arc::new(Table {
            hash: Digest::from_bytes(*said.hash.as_bytes()),
            limits: Limits {
                memory: usize::try_from(said.limits.memory)?,
                timeout: said.limits.request(),
                tick: said.limits.tick(),
                concurrency: usize::try_from(said.limits.concurrency)?,
                instances: usize::try_from(said.limits.instances)?,
                idle: said.limits.idle,
                drain: said.limits.drain,
            },
            env: said.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            git: said.git.iter().map(|(name, grant)| (name.to_string(), granted(grant))).collect(),
            publications: said.git.iter().filter_map(|(name, grant)| self.publication(name, grant)).collect(),
            outbound,
            probe: said.probe.as_ref().map(ToString::to_string),
        }))
    }
}

fn held(loaded: &Loaded) -> MutexGuard<'_, Weak<Code>> {
    loaded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A component's file, or so much of it that it is known to be none. Blocks.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_COMPONENT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The branches of a table, where they stand.
pub(super) fn branches(table: &Table, bindings: &Bindings) -> anyhow::Result<BTreeMap<String, Arc<dyn Branch>>> {
    let branch = |(known, grant): (&String, &GrantedBranch)| {
        let binding = bindings.iter().find(|(name, _)| ***name == *grant.binding).map(|(_, binding)| binding);
        let binding = binding.with_context(|| format!("there is no [git.{}]", grant.binding))?;
        Ok((known.clone(), binding.branch()?))
    };
    table.git.iter().map(branch).collect()
}

/// What a router may name: service components and upstreams, whether they serve yet or not.
pub(super) fn upstreams(manifest: &Manifest, services: impl Fn(&manifest::Name) -> bool) -> Arc<[Upstream]> {
    let components = manifest.components.keys().filter(|name| services(name));
    let mut upstreams: Vec<Upstream> = components
        .map(|name| Upstream { name: name.to_string(), component: true })
        .chain(manifest.upstreams.keys().map(|name| Upstream { name: name.to_string(), component: false }))
        .collect();
    upstreams.sort();
    upstreams.into()
}

/// The second of several routers, if there are: which of them would decide, nobody could tell.
pub(super) fn second_router<'a>(
    components: impl Iterator<Item = (&'a manifest::Component, Option<Role>)>,
) -> Option<Problem> {
    let mut routers = components.filter(|(_, role)| *role == Some(Role::Router)).map(|(said, _)| said);
    let (first, second) = (routers.next()?, routers.next()?);
    Some(second.place.problem(format!(
        "[component.{}]: is a second router, beside `{}`: a host has one; give the other to a host of its own",
        second.name, first.name
    )))
}

/// What should be said where every name is refused, since there is no router and no one service for all.
pub(super) fn nobody_decides<'a>(roles: impl Iterator<Item = (&'a str, Option<Role>)>) -> Option<&'static str> {
    let mut services = 0;
    for (name, role) in roles {
        match role {
            Some(Role::Router) => return None,
            Some(Role::Service { .. }) if name == "site" => return None,
            Some(Role::Service { .. }) => services += 1,
            Some(Role::Agent) | None => {}
        }
    }
    (services > 1).then_some(
        "there are several services and no router, so every name is answered with 404: add a router, or call the service \
         for all names `site`",
    )
}

/// What is wrong with a component, with the line of its table.
pub(super) fn problem(said: &manifest::Component, error: &anyhow::Error) -> Problem {
    said.place.problem(format!("[component.{}]: {}", said.name, chain(error.as_ref())))
}

/// What a slot begins with: today's draft, and what a former run proved, under today's table; and what should be said where that
/// is not served by it. Blocks.
pub(super) fn start(
    loader: &Loader,
    proved: &Proved,
    bindings: &Bindings,
    name: &str,
    current: Draft,
) -> (Start, Option<String>) {
    let proved = match proved.entry(name) {
        Some(entry) => former(loader, proved, bindings, &entry, &current),
        None => Err(None),
    };
    let (proved, unchanged, words) = match proved {
        Ok((proved, unchanged)) => (Some(proved), unchanged, None),
        Err(words) => (None, false, words),
    };
    // Where nothing is known of a branch any more, that is no news.
    let mut current = current;
    for (known, branch) in &mut current.branches {
        if !branch.is_known()
            && let Some(proved) = proved.as_ref().and_then(|proved| proved.branches.get(known))
        {
            *branch = proved.clone();
        }
    }
    (Start { proved, unchanged, current, held: false }, words)
}

/// What a former run proved, under today's table, and whether that is the one that it was proved under.
///
/// # Errors
/// It is not to be had, or of no use: why, where nobody would think of it.
fn former(
    loader: &Loader,
    proved: &Proved,
    bindings: &Bindings,
    entry: &ledger::Entry,
    current: &Draft,
) -> Result<(Inputs, bool), Option<String>> {
    let code = match &current.code {
        Some(code) if code.digest().to_string() == entry.digest => Some(code.clone()),
        _ => proved.bytes(&entry.digest).and_then(|bytes| loader.bytes(bytes).ok()),
    };
    let code = code.ok_or(None)?;
    let role = |code: &Code| code.surface().role.map(|role| std::mem::discriminant(&role));
    if current.code.as_ref().is_some_and(|current| role(current) != role(&code)) {
        // By that name there is something else now.
        return Err(None);
    }
    let same_table = entry.table == current.table.hash.to_string();
    let mut branches = current.branches.clone();
    for (known, branch) in &mut branches {
        let Some(grant) = current.table.git.get(known) else { continue };
        let Some((_, binding)) = bindings.iter().find(|(name, _)| ***name == *grant.binding) else { continue };
        let Some(revision) = entry.revisions.get(&grant.binding) else {
            // It reads that by this table, and nobody knows what it was proved with.
            if same_table {
                return Err(None);
            }
            continue;
        };
        let from = entry.origins.get(&grant.binding);
        if from.is_some_and(|from| *from != *binding.identity()) {
            return Err(Some(format!(
                "what was proved before is not served: [git.{}] is {} now, and that came from elsewhere",
                grant.binding,
                binding.origin()
            )));
        }
        if branch.revision() == revision {
            continue;
        }
        let id = match revision.as_str() {
            "" => None,
            hex => atoll_git::ObjectId::from_hex(hex.as_bytes()).ok(),
        };
        // A revision that is damaged is proved again, where it stands now.
        let whole = id.is_none_or(|id| binding.repository().verify(id).is_ok());
        match binding.at(id, from.cloned().unwrap_or_default()) {
            Ok(at) if whole && at.revision() == revision => *branch = at,
            _ => return Err(None),
        }
    }
    let upstreams: Arc<[Upstream]> = match code.surface().role {
        Some(atoll_runtime::Role::Router) => current.upstreams.clone(),
        _ => Arc::default(),
    };
    let unchanged = same_table && entry.upstreams == ledger::names(&upstreams);
    Ok((Inputs { code, table: current.table.clone(), branches, upstreams }, unchanged))
}
