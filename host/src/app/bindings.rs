//! The manifest's bindings, each followed into a repository of ours. A head that moves is the only event that comes out
//! of here, whatever made it move.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use atoll_gateway::Complaints;
use atoll_git::{
    Event, FetchError, Fetched, Follower, ObjectId, OpenError, Remote, Repository, Staging, Standing, Store, Watcher,
};
use atoll_net::Secret;
use atoll_runtime::{Branch, Journal, Level};
use futures_util::future::BoxFuture;
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::AbortHandle,
};

use super::branches::GitBranch;
use crate::{
    journal::Log,
    manifest::{self, Name},
    text::chain,
};

/// How long those who read a branch may take to be told of its head, for one who waits for that.
const PASSED_ON: Duration = Duration::from_secs(10);

/// Until a head that can't be read is tried again.
const UNREADABLE: Duration = Duration::from_secs(1);

/// A binding's name, and the log, where something is said of it: even when it has gone itself.
#[derive(Clone)]
pub(super) struct Title {
    pub(super) name: Name,
    log: Arc<Log>,
}

/// One binding, followed until it is dropped.
pub(super) struct Binding {
    said: manifest::Binding,
    /// Where its branch comes from, in words.
    origin: String,
    title: Title,
    repository: Repository,
    follower: Follower,
    /// Whose secret tells of a push; a reload may say another.
    hook: ArcSwapOption<Secret>,
    /// Of hooks that are refused.
    refused: Complaints,
    /// Why the secret was of no use to the last hook.
    useless: ArcSwapOption<String>,
    /// Held while something is committed to it: each takes a thread.
    committing: Arc<tokio::sync::Mutex<()>>,
    /// What tells its remote from others.
    identity: String,
    error: Arc<Mutex<Option<Trouble>>>,
    /// Why its head can't be read, if it can't.
    unreadable: Arc<ArcSwapOption<String>>,
    heads: AbortHandle,
    /// What all who read it were told of last.
    passed: watch::Sender<Standing>,
}

/// Why a binding can't be fetched.
struct Trouble {
    words: String,
    no_branch: bool,
}

/// Told that the head of a binding moved; waited for, so that a newer head never overtakes.
pub(super) type Moved = Arc<dyn Fn(Name, Arc<dyn Branch>) -> BoxFuture<'static, ()> + Send + Sync>;

impl Binding {
    /// Follows `said`; `moved` is told of each new head. Unless it goes on with what the one `before` it serves, what came from
    /// another remote is none of its own.
    pub(super) fn follow(
        store: &Store,
        watcher: &Watcher,
        remote: Remote,
        said: &manifest::Binding,
        log: &Arc<Log>,
        moved: Moved,
        before: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let repository = store.repository(&said.name)?;
        if let Some(damage) = repository.damage() {
            let log: &dyn Journal = &**log;
            log.host(
                Level::Warning,
                format!("binding {}: what was fetched is damaged, and is fetched again: {damage}", said.name),
            );
        }
        if before.is_none()
            && let Some(other) = repository.claim(&remote)
        {
            let words =
                format!("binding {}: what was fetched from {other} is not served for another remote", said.name);
            let log: &dyn Journal = &**log;
            log.host(Level::Warning, words);
        }
        if remote.has_work_tree() {
            let log: &dyn Journal = &**log;
            log.host(
                Level::Info,
                format!(
                    "binding {}: of {}, what is committed is served, and not what is only edited in its work tree",
                    said.name,
                    remote.title()
                ),
            );
        }
        let (origin, identity) = (remote.title(), remote.identity());
        let error = Arc::new(Mutex::new(None));
        let report = reporter(said.name.clone(), log.clone(), error.clone());
        let passed = watch::Sender::new(Standing::default());
        let title = Title::new(said.name.clone(), log.clone());
        let unreadable = Arc::new(ArcSwapOption::empty());
        let telling = tell(title.clone(), repository.clone(), moved, passed.clone(), unreadable.clone());
        let heads = tokio::spawn(telling).abort_handle();
        let follower = Follower::start(repository.clone(), remote, watcher.clone(), said.poll, report);
        let hook = ArcSwapOption::new(said.hook.clone().map(Arc::new));
        let (refused, useless, committing) = (Complaints::default(), ArcSwapOption::empty(), Arc::default());
        let said = said.clone();
        Ok(Self {
            said,
            origin,
            title,
            repository,
            follower,
            hook,
            refused,
            useless,
            committing,
            identity,
            error,
            unreadable,
            heads,
            passed,
        })
    }

    pub(super) fn said(&self) -> &manifest::Binding {
        &self.said
    }

    /// Where the secret is of who tells of a push.
    pub(super) fn hook(&self) -> Option<Arc<Secret>> {
        self.hook.load_full()
    }

    /// A hook of it was refused, in these words: for the log, now and then.
    pub(super) fn refused(&self, words: &str, now: Instant) {
        if let Some(more) = self.refused.failed(now) {
            self.title.warn(&format!("{words}{more}"));
        }
    }

    /// Whether the secret was there to hold a hook against, and why not.
    pub(super) fn found_secret(&self, useless: Option<String>) {
        self.useless.store(useless.map(Arc::new));
    }

    pub(super) fn useless_secret(&self) -> Option<Arc<String>> {
        self.useless.load_full()
    }

    /// From now on it is there.
    pub(super) fn heed(&self, hook: Option<Secret>) {
        self.hook.store(hook.map(Arc::new));
        self.useless.store(None);
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// What tells its remote from others.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Where its branch comes from, in words.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What was fetched last.
    pub(super) fn revision(&self) -> Option<String> {
        self.repository.head().map(|head| head.id.to_string())
    }

    /// Why it can't be fetched, or its head not be read, if it can't.
    pub(super) fn error(&self) -> Option<String> {
        let unreadable = self.unreadable.load_full();
        let trouble =
            self.error.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|trouble| trouble.words.clone());
        match (unreadable, trouble) {
            (Some(unreadable), Some(trouble)) => Some(format!("{unreadable}; {trouble}")),
            (unreadable, trouble) => unreadable.map(|words| words.to_string()).or(trouble),
        }
    }

    /// Whether its remote answers, and has no such branch: who writes begins it.
    pub(super) fn lacks_its_branch(&self) -> bool {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|trouble| trouble.no_branch)
    }

    /// Waits until something is here, where nothing was ever fetched from its remote, but no longer than that.
    pub(super) async fn first(&self, patience: Duration) {
        let standing = self.standing();
        if standing.head.is_none() || standing.origin != self.identity {
            let _ = tokio::time::timeout(patience, self.fetch()).await;
        }
    }

    /// Fetches now.
    pub(super) async fn fetch(&self) -> Result<Fetched, Arc<FetchError>> {
        self.follower.fetch().await
    }

    /// What is known of its branch.
    pub(super) fn standing(&self) -> Standing {
        self.repository.standing()
    }

    /// Begins a tree on top of what its origin stands at.
    pub(super) async fn stage(&self) -> Result<Staging, OpenError> {
        self.follower.stage().await
    }

    /// Waits until nobody else commits to it.
    pub(super) async fn turn_to_commit(&self) -> OwnedMutexGuard<()> {
        self.committing.clone().lock_owned().await
    }

    pub(super) fn title(&self) -> &Title {
        &self.title
    }

    /// Waits until all who read it were told of where it stands, but not for ever. Whether they were.
    pub(super) async fn passed_on(&self) -> bool {
        let mut passed = self.passed.subscribe();
        let told = passed.wait_for(|told| *told == self.standing());
        tokio::time::timeout(PASSED_ON, told).await.is_ok_and(|told| told.is_ok())
    }

    /// Its head, or an empty tree.
    pub(super) fn branch(&self) -> anyhow::Result<Arc<dyn Branch>> {
        let Standing { head, origin } = self.standing();
        self.at(head.map(|head| head.id), origin)
    }

    /// A revision that is here, and came from the remote of this identity; of none, an empty tree, if that said so.
    pub(super) fn at(&self, id: Option<ObjectId>, origin: String) -> anyhow::Result<Arc<dyn Branch>> {
        let snapshot = self.repository.snapshot(id).with_context(|| format!("binding {}", self.said.name))?;
        Ok(Arc::new(GitBranch::new(snapshot, origin)))
    }
}

impl Title {
    pub(super) fn new(name: Name, log: Arc<Log>) -> Self {
        Self { name, log }
    }

    /// Says something about it in the log.
    pub(super) fn warn(&self, words: &str) {
        let log: &dyn Journal = &*self.log;
        log.host(Level::Warning, format!("binding {}: {words}", self.name));
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.heads.abort();
    }
}

/// Passes on where it stands, whenever that is new.
async fn tell(
    title: Title,
    repository: Repository,
    moved: Moved,
    passed: watch::Sender<Standing>,
    unreadable: Arc<ArcSwapOption<String>>,
) {
    let name = &title.name;
    let mut standings = repository.standings();
    passed.send_replace(standings.borrow_and_update().clone());
    while standings.changed().await.is_ok() {
        loop {
            let now = standings.borrow_and_update().clone();
            match repository.snapshot(now.head.map(|head| head.id)) {
                Ok(snapshot) => {
                    moved(name.clone(), Arc::new(GitBranch::new(snapshot, now.origin.clone()))).await;
                    // Before who waits for that is told.
                    unreadable.store(None);
                    passed.send_replace(now);
                    break;
                }
                Err(error) => {
                    let words = format!("its new head can't be read: {error}");
                    if unreadable.load().as_deref() != Some(&words) {
                        (&*title.log as &dyn Journal).host(Level::Error, format!("binding {name}: {words}"));
                        unreadable.store(Some(Arc::new(words)));
                    }
                    tokio::time::sleep(UNREADABLE).await;
                }
            }
        }
    }
}

fn reporter(name: Name, log: Arc<Log>, error: Arc<Mutex<Option<Trouble>>>) -> impl Fn(Event) + Send + Sync + 'static {
    move |event| {
        let log: &dyn Journal = &*log;
        let failing = |trouble: Option<Trouble>| *error.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        match event {
            Event::Moved(lines) => {
                failing(None);
                for line in lines {
                    log.host(Level::Warning, format!("binding {name}: {line}"));
                }
            }
            Event::Unborn => failing(None),
            Event::Recovered => {
                log.host(Level::Info, format!("binding {name}: can be fetched again"));
                failing(None);
            }
            Event::Damaged(id) => {
                let words = format!("the object {id} is missing or damaged in our copy, and is fetched again");
                log.host(Level::Warning, format!("binding {name}: {words}"));
                failing(Some(Trouble { words, no_branch: false }));
            }
            Event::Gone(why) => {
                let words = format!("{why}; the last head is served");
                log.host(Level::Warning, format!("binding {name}: {words}"));
                failing(Some(Trouble { words, no_branch: false }));
            }
            Event::Failed(failed) => {
                let words = chain(&*failed);
                log.host(Level::Error, format!("binding {name}: can't be fetched: {words}"));
                failing(Some(Trouble { words, no_branch: failed.is_no_branch() }));
            }
            Event::Watching => {}
            Event::Untidy(why) => log.host(Level::Warning, format!("binding {name}: {why}")),
            Event::Polling(why) => log.host(Level::Warning, format!("binding {name}: polled, not watched: {why}")),
        }
    }
}

/// By name.
pub(super) type Bindings = BTreeMap<Name, Arc<Binding>>;
