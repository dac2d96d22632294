//! The running host: its bindings, its components, and the ways in which they change. Everything that serves is reached
//! from here; nothing here listens.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use atoll_git::{Remote, Store, Watcher};
use atoll_net::Proxies;
use atoll_runtime::{Branch, Change, Code, Draft, Given, Journal, Level, Role, Runtime, Slot, Start, Upstream};
use futures_util::future::{self, BoxFuture};
use tokio::task::block_in_place;

use super::{
    bindings::{Binding, Bindings, Moved},
    components::{self, Loader, problem},
    ledger::Proved,
    remotes,
    running::Running,
    state::State,
};
use crate::{
    journal::Log,
    manifest::{self, Manifest, Name, Options},
    problem::Problems,
    text::chain,
};

/// Bytes of trees and small files that are remembered, all bindings together.
const TREES: usize = 64 << 20;

/// How long a start waits for the first fetch of a binding of which nothing is here yet.
const FIRST: Duration = Duration::from_secs(3);

/// How long a start waits for the first proofs.
const SETTLE: Duration = Duration::from_secs(10);

/// What was proved so long ago is synced to the disk: a sync holds up whoever writes, so pushes share one.
const UNSETTLED: Duration = Duration::from_millis(500);

/// A binding that is to be followed anew, since its remote is another one now, or looked at in another way.
pub(super) type Elsewhere = (manifest::Binding, Remote);

/// What the files of components are, where they can be read.
pub(super) type Codes = BTreeMap<Name, Arc<Code>>;

pub(super) type Components = BTreeMap<Name, Arc<Running>>;

pub(super) struct Host {
    pub options: Options,
    pub log: Arc<Log>,
    pub state: State,
    pub loader: Arc<Loader>,
    /// The way to remotes; nobody else goes it.
    proxies: Proxies,
    runtime: Arc<Runtime>,
    ledger: Arc<Proved>,
    store: Store,
    watcher: Watcher,
    pub bindings: Arc<ArcSwap<Bindings>>,
    pub components: Arc<ArcSwap<Components>>,
    /// Why the last reload changed nothing, if it did not.
    pub not_reloaded: ArcSwapOption<String>,
    /// Read by all; changed by one reload at a time, which holds this.
    pub manifest: tokio::sync::Mutex<Manifest>,
}

impl Host {
    /// Brings up bindings and components. Returns when each component of which something was proved serves it, and the
    /// proofs of the others have begun.
    pub(super) async fn start(
        options: Options,
        log: Arc<Log>,
        state: State,
        manifest: Manifest,
    ) -> anyhow::Result<Arc<Self>> {
        let loader = Arc::new(Loader::new(Some(state.compiled()))?);
        let runtime = Arc::new(Runtime::new(loader.engine.clone(), log.clone())?);
        let store = Store::open(&state.git(), TREES.try_into().expect("it is not zero"), std::time::SystemTime::now())?;
        let bindings = loader.bindings.clone();
        let damaged = |words| (&*log as &dyn Journal).host(Level::Warning, words);
        let ledger = Arc::new(Proved::open(state.proved(), state.components(), bindings.clone(), damaged)?);
        let host = Self {
            options,
            log,
            state,
            loader,
            proxies: remotes::proxies(),
            runtime,
            ledger,
            store,
            watcher: Watcher::default(),
            bindings,
            components: Arc::default(),
            not_reloaded: ArcSwapOption::empty(),
            manifest: tokio::sync::Mutex::new(manifest.clone()),
        };
        let (bindings, _) = block_in_place(|| host.follow(&manifest, &Bindings::new()))?;
        future::join_all(bindings.values().map(|binding| binding.first(FIRST))).await;
        host.bindings.store(Arc::new(bindings));
        let codes = host.load(manifest.components.values()).await;
        let components = host.place(&manifest, codes).await?;
        // Whether they pass or not: a client that comes first shall find what there is.
        let settled = future::join_all(components.values().map(|running| running.slot.change(Vec::new())));
        let _ = tokio::time::timeout(SETTLE, settled).await;
        host.adopt(components).await;
        let (loader, ledger, components) = (host.loader.clone(), host.ledger.clone(), host.components.load_full());
        tokio::task::spawn_blocking(move || {
            components.values().for_each(|running| keep_whole(&ledger, running));
            let digests = |running: &Arc<Running>| {
                [running.file(), running.slot.serving().map(|serving| serving.digest())]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            };
            loader.compiler.keep_only(&loader.engine, &components.values().flat_map(digests).collect::<Vec<_>>());
        });
        tokio::spawn(settling(host.ledger.clone(), host.log.clone()));
        Ok(Arc::new(host))
    }

    /// Forgets what was proved of components that are gone. Blocks.
    pub(super) fn forget_others(&self) {
        let components = self.components.load();
        self.ledger.retain(|name| components.keys().any(|known| **known == *name));
    }

    /// From now on these are the components. What moved while they were proved, and nobody could tell them, they are told.
    pub(super) async fn adopt(&self, components: Components) {
        self.components.store(Arc::new(components));
        let (components, bindings) = (self.components.load_full(), self.bindings.load_full());
        block_in_place(|| self.forget_others());
        for running in components.values() {
            for (known, grant) in &running.said.git {
                let Some(binding) = bindings.get(&grant.from) else { continue };
                // What moves meanwhile may be told before what was read here: the newest has the last word.
                loop {
                    let told = binding.standing();
                    let Ok(branch) = block_in_place(|| binding.branch()) else { break };
                    running.slot.notify(vec![head_of(known, &grant.from, branch)]).await;
                    if binding.standing() == told {
                        break;
                    }
                }
            }
        }
    }

    /// The bindings of a manifest. Those that were there are followed as before, for now; the ones that are to be followed
    /// anew are named beside. Blocks.
    pub(super) fn follow(&self, manifest: &Manifest, before: &Bindings) -> anyhow::Result<(Bindings, Vec<Elsewhere>)> {
        let (mut bindings, mut elsewhere) = (Bindings::new(), Vec::new());
        for (name, said) in &manifest.bindings {
            let known = before.get(name);
            if let Some(binding) = known.filter(|binding| same_remote(binding.said(), said)) {
                bindings.insert(name.clone(), binding.clone());
                continue;
            }
            let location = remotes::location(said, &self.loader.client, &self.loader.tls, &self.proxies);
            let location = location.with_context(|| format!("[git.{name}]"))?;
            let remote = Remote { location, branch: said.branch.clone(), depth: said.depth };
            let binding = if let Some(binding) = known {
                elsewhere.push((said.clone(), remote));
                binding.clone()
            } else {
                Arc::new(self.binding(said, remote, None)?)
            };
            bindings.insert(name.clone(), binding);
        }
        Ok((bindings, elsewhere))
    }

    /// Follows remotes that are other ones now. What they bring is a push like any other.
    pub(super) fn follow_elsewhere(&self, elsewhere: Vec<Elsewhere>) -> anyhow::Result<()> {
        let mut bindings = (**self.bindings.load()).clone();
        let mut followed = Ok(());
        for (said, remote) in elsewhere {
            let before = bindings.get(&said.name).cloned();
            match self.binding(&said, remote, before.as_deref()) {
                Ok(binding) => drop(bindings.insert(said.name.clone(), Arc::new(binding))),
                Err(error) => followed = Err(error),
            }
        }
        self.bindings.store(Arc::new(bindings));
        followed
    }

    fn binding(&self, said: &manifest::Binding, remote: Remote, before: Option<&Binding>) -> anyhow::Result<Binding> {
        let components = self.components.clone();
        let moved: Moved = Arc::new(move |name, branch| moved(&components.load(), name, branch));
        Binding::follow(&self.store, &self.watcher, remote, said, &self.log, moved, before)
    }

    /// Reads and compiles the files of components, all at once.
    pub(super) async fn load<'a>(
        &self,
        said: impl Iterator<Item = &'a manifest::Component>,
    ) -> BTreeMap<Name, anyhow::Result<Arc<Code>>> {
        let load = |said: &manifest::Component| {
            let (loader, name, path) = (self.loader.clone(), said.name.clone(), said.path.clone());
            let loaded = tokio::task::spawn_blocking(move || loader.file(&path));
            async move { (name, loaded.await.unwrap_or_else(|_| Err(anyhow::anyhow!("loading failed")))) }
        };
        future::join_all(said.map(load)).await.into_iter().collect()
    }

    /// Gives each component of a manifest its slot; at a start, where none has one.
    async fn place(
        &self,
        manifest: &Manifest,
        codes: BTreeMap<Name, anyhow::Result<Arc<Code>>>,
    ) -> anyhow::Result<Components> {
        let (mut loaded, mut broken, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, code) in codes {
            match code {
                Ok(code) => drop(loaded.insert(name, code)),
                // What was proved serves, though its file is broken now.
                Err(error) if self.ledger.entry(&name).is_some() => {
                    let words = chain(error.as_ref());
                    self.about(&name, Level::Error, words.clone());
                    broken.insert(name, words);
                }
                Err(error) => problems.extend(manifest.components.get(&name).map(|said| problem(said, &error))),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
        let upstreams = self.upstreams(manifest, &loaded);
        let mut components = Components::new();
        for said in manifest.components.values() {
            let code = loaded.get(&said.name).cloned();
            let running = self.put(said, code, upstreams.clone(), &self.bindings.load(), false).await;
            let running = running.map_err(|error| Problems(vec![problem(said, &error)]))?;
            if let Some(words) = broken.remove(&said.name) {
                running.slot.refuse(Given::AsItsFile, words);
            }
            components.insert(said.name.clone(), Arc::new(running));
        }
        // With what serves in place of a file that is broken.
        let roles = components.values().map(|running| (&running.said, running.role));
        if let Some(problem) = components::second_router(roles) {
            return Err(Problems(vec![problem]).into());
        }
        Ok(components)
    }

    /// One component into a new slot; `held`, until it is prepared with others.
    pub(super) async fn put(
        &self,
        said: &manifest::Component,
        code: Option<Arc<Code>>,
        upstreams: Arc<[Upstream]>,
        bindings: &Arc<Bindings>,
        held: bool,
    ) -> anyhow::Result<Running> {
        let table = self.loader.table(said)?;
        let branches = components::branches(&table, bindings)?;
        let draft = Draft { code: code.clone(), table, branches, upstreams };
        let name: Arc<str> = Arc::from(&*said.name);
        let entry = self.ledger.entry(&name);
        // Where other bytes were proved, those serve by this table as long as these don't.
        let others = |inputs: &atoll_runtime::Inputs| {
            let digest = inputs.code.digest().to_string();
            entry.as_ref().is_some_and(|entry| entry.digest != digest)
        };
        if let Some(inputs) = draft.complete()
            && let Err(disproof) = self.runtime.check(&name, &inputs)
            && !others(&inputs)
        {
            return Err(disproof.into());
        }
        let (loader, ledger, bindings) = (self.loader.clone(), self.ledger.clone(), bindings.clone());
        let begins = name.clone();
        let start = tokio::task::spawn_blocking(move || components::start(&loader, &ledger, &bindings, &begins, draft));
        let (mut start, words) = start.await?;
        if let Some(words) = words.filter(|_| !held) {
            self.about(&said.name, Level::Info, words);
        }
        if held {
            start.current.code = None;
            start = Start { proved: None, unchanged: false, current: start.current, held };
        }
        // What was proved has the file's role, if there is a file; where neither is to be had, it is for what it was.
        let loaded = code.as_ref().or(start.proved.as_ref().map(|proved| &proved.code));
        let role = loaded.and_then(|code| code.surface().role).or(entry.and_then(|entry| entry.role()));
        let slot = Slot::new(self.runtime.clone(), self.ledger.clone(), name, start);
        Ok(Running::new(said.clone(), slot, code.map(|code| code.digest()), role))
    }

    /// What routers of a manifest may name.
    pub(super) fn upstreams(&self, manifest: &Manifest, codes: &Codes) -> Arc<[Upstream]> {
        let running = self.components.load();
        components::upstreams(manifest, |name| {
            let role = match codes.get(name) {
                Some(code) => code.surface().role,
                None => match running.get(name) {
                    Some(running) => running.role,
                    None => self.ledger.entry(name).and_then(|entry| entry.role()),
                },
            };
            // One whose file can't be read may be a service yet.
            role.is_none_or(|role| matches!(role, Role::Service { .. }))
        })
    }

    pub(super) fn about(&self, component: &Name, level: Level, text: String) {
        let log: &dyn Journal = &*self.log;
        log.about(&Arc::from(&**component), level, text);
    }

    pub(super) fn say(&self, level: Level, text: impl Into<String>) {
        let log: &dyn Journal = &*self.log;
        log.host(level, text);
    }
}

/// Puts right what the disk made of the bytes that serve, before they are needed again. Blocks.
fn keep_whole(ledger: &Proved, running: &Running) {
    if let Some(serving) = running.slot.serving() {
        // What can't be written now is when it is proved next, and that is told.
        let _ = ledger.keep_bytes(&serving.inputs().code);
    }
}

/// Makes what was proved survive a power cut: a while after it serves, and together with what came after it.
async fn settling(ledger: Arc<Proved>, log: Arc<Log>) {
    loop {
        ledger.changed().await;
        tokio::time::sleep(UNSETTLED).await;
        let settled = tokio::task::spawn_blocking({
            let ledger = ledger.clone();
            move || ledger.settle()
        });
        if let Ok(Err(error)) = settled.await {
            let log: &dyn Journal = &*log;
            log.host(Level::Warning, format!("what was proved can't be synced to the disk: {error}"));
        }
    }
}

/// Way 2: a head moved, and each component that reads it is told.
fn moved(components: &Components, binding: Name, branch: Arc<dyn Branch>) -> BoxFuture<'static, ()> {
    let mut told = Vec::new();
    for running in components.values() {
        for (known, _) in running.said.git.iter().filter(|(_, grant)| grant.from == binding) {
            told.push((running.slot.clone(), head_of(known, &binding, branch.clone())));
        }
    }
    Box::pin(async move {
        for (slot, change) in told {
            slot.notify(vec![change]).await;
        }
    })
}

fn head_of(known: &Name, binding: &Name, branch: Arc<dyn Branch>) -> Change {
    Change::Branch { known: known.to_string(), binding: binding.to_string(), branch }
}

fn same_remote(before: &manifest::Binding, now: &manifest::Binding) -> bool {
    let looked_at = |said: &manifest::Binding| (said.depth, said.poll);
    before.remote == now.remote && before.branch == now.branch && looked_at(before) == looked_at(now)
}
