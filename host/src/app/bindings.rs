//! The manifest's bindings, each followed into a repository of ours. A head that moves is the only event that comes out
//! of here, whatever made it move.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use atoll_git::{
    Event, FetchError, Fetched, Follower, Location, ObjectId, OpenError, Remote, Repository, Staging, Store, Watcher,
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

/// How long a start waits for the first fetch of a binding of which nothing is here yet.
const FIRST: Duration = Duration::from_secs(3);

/// How long those who read a branch may take to be told of its head, for one who waits for that.
const PASSED_ON: Duration = Duration::from_secs(10);

/// A binding's name, and the log, where something is said of it: even when it has gone itself.
#[derive(Clone)]
pub(super) struct Title {
    pub(super) name: Name,
    log: Arc<Log>,
}

/// Whether a branch is known to have no commit.
#[derive(Clone, Default)]
struct Empty {
    /// Its remote said so.
    said: Arc<AtomicBool>,
    /// It did, or one that it goes on from: whoever decides by that goes on, too.
    known: Arc<AtomicBool>,
}

impl Empty {
    fn note(&self) {
        self.said.store(true, Ordering::Relaxed);
        self.known.store(true, Ordering::Relaxed);
    }
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
    /// Held while something is committed to it: each takes a thread.
    committing: Arc<tokio::sync::Mutex<()>>,
    /// What tells its remote from others.
    identity: String,
    empty: Empty,
    /// Why it can't be fetched, if it can't.
    error: Arc<Mutex<Option<String>>>,
    heads: AbortHandle,
    /// The head that all who read it were told of last.
    passed: watch::Sender<Option<ObjectId>>,
}

/// Told that the head of a binding moved; waited for, so that a newer head never overtakes.
pub(super) type Moved = Arc<dyn Fn(Name, Arc<dyn Branch>) -> BoxFuture<'static, ()> + Send + Sync>;

impl Binding {
    /// Follows `said`; `moved` is told of each new head. Unless it goes on with what the one `before` it serves, what came from
    /// another remote is none of its own.
    pub(super) fn follow(
        store: &Store,
        watcher: &Watcher,
        location: Location,
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
        let remote = Remote { location, branch: said.branch.clone(), depth: said.depth };
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
        let known = before.map(|before| before.empty.known.clone()).unwrap_or_default();
        let empty = Empty { said: Arc::default(), known };
        let report = reporter(said.name.clone(), log.clone(), error.clone(), empty.clone());
        let passed = watch::Sender::new(None);
        let telling = tell(said.name.clone(), repository.clone(), log.clone(), moved, passed.clone());
        let heads = tokio::spawn(telling).abort_handle();
        let follower = Follower::start(repository.clone(), remote, watcher.clone(), said.poll, report);
        let title = Title::new(said.name.clone(), log.clone());
        let hook = ArcSwapOption::new(said.hook.clone().map(Arc::new));
        let committing = Arc::default();
        let said = said.clone();
        Ok(Self { said, origin, title, repository, follower, hook, committing, identity, empty, error, heads, passed })
    }

    pub(super) fn said(&self) -> &manifest::Binding {
        &self.said
    }

    /// Where the secret is of who tells of a push.
    pub(super) fn hook(&self) -> Option<Arc<Secret>> {
        self.hook.load_full()
    }

    /// From now on it is there.
    pub(super) fn heed(&self, hook: Option<Secret>) {
        self.hook.store(hook.map(Arc::new));
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

    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something is here, where nothing was ever fetched.
    pub(super) async fn first(&self) {
        if self.repository.head().is_none() {
            let _ = tokio::time::timeout(FIRST, self.fetch()).await;
        }
    }

    /// Fetches now.
    pub(super) async fn fetch(&self) -> Result<Fetched, Arc<FetchError>> {
        let fetched = self.follower.fetch().await;
        if let Ok(Fetched::Unborn) = fetched {
            self.empty.note();
        }
        fetched
    }

    /// Its remote said so in a former run.
    pub(super) fn was_said_empty(&self) {
        self.empty.note();
    }

    /// True from when it, or one that goes on from it, is known to be empty.
    pub(super) fn known_empty(&self) -> &Arc<AtomicBool> {
        &self.empty.known
    }

    /// Whether that there is nothing is what its remote said, and not that nobody has asked it yet.
    pub(super) fn is_said_empty(&self) -> bool {
        self.empty.said.load(Ordering::Relaxed)
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

    /// Waits until all who read it were told of its head.
    pub(super) async fn passed_on(&self) {
        let mut passed = self.passed.subscribe();
        let told = passed.wait_for(|told| *told == self.repository.head().map(|head| head.id));
        let _ = tokio::time::timeout(PASSED_ON, told).await;
    }

    /// Its head, or an empty tree.
    pub(super) fn branch(&self) -> anyhow::Result<Arc<dyn Branch>> {
        self.at(self.repository.head().map(|head| head.id), self.repository.origin())
    }

    /// A revision that is here, and came from the remote of this identity; of none, an empty tree.
    pub(super) fn at(&self, id: Option<atoll_git::ObjectId>, origin: String) -> anyhow::Result<Arc<dyn Branch>> {
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

/// Passes each new head on.
async fn tell(
    name: Name,
    repository: Repository,
    log: Arc<Log>,
    moved: Moved,
    passed: watch::Sender<Option<ObjectId>>,
) {
    let mut heads = repository.heads();
    heads.mark_unchanged();
    passed.send_replace(repository.head().map(|head| head.id));
    while heads.changed().await.is_ok() {
        let head = *heads.borrow_and_update();
        match repository.snapshot(head.map(|head| head.id)) {
            Ok(snapshot) => moved(name.clone(), Arc::new(GitBranch::new(snapshot, repository.origin()))).await,
            Err(error) => {
                let log: &dyn Journal = &*log;
                log.host(Level::Error, format!("binding {name}: its new head can't be read: {error}"));
            }
        }
        passed.send_replace(head.map(|head| head.id));
    }
}

fn reporter(
    name: Name,
    log: Arc<Log>,
    error: Arc<Mutex<Option<String>>>,
    empty: Empty,
) -> impl Fn(Event) + Send + Sync + 'static {
    move |event| {
        let log: &dyn Journal = &*log;
        let failing = |words: Option<String>| *error.lock().unwrap_or_else(PoisonError::into_inner) = words;
        match event {
            Event::Moved(lines) => {
                failing(None);
                for line in lines {
                    log.host(Level::Warning, format!("binding {name}: {line}"));
                }
            }
            Event::Recovered => failing(None),
            Event::Unborn => {
                empty.note();
                failing(None);
            }
            Event::Gone(why) => {
                let words = format!("{why}; the last head is served");
                log.host(Level::Warning, format!("binding {name}: {words}"));
                failing(Some(words));
            }
            Event::Failed(failed) => {
                let words = chain(&*failed);
                log.host(Level::Error, format!("binding {name}: can't be fetched: {words}"));
                failing(Some(words));
            }
            Event::Watching => {}
            Event::Untidy(why) => log.host(Level::Warning, format!("binding {name}: {why}")),
            Event::Polling(why) => log.host(Level::Warning, format!("binding {name}: polled, not watched: {why}")),
        }
    }
}

/// By name.
pub(super) type Bindings = BTreeMap<Name, Arc<Binding>>;
