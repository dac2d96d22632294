//! A component's place in the host, by name: what serves there now, and the changes that wait to be proved.
//! `keeper` does the proving and switching; this is the side that others hold.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Branch, Code, Disproof, Generation, Inputs, Role, Runtime, Table, Upstream, Usage, counts::Counts, keeper::Keeper,
};

/// Something that makes a candidate for a new generation.
#[derive(Clone)]
pub enum Change {
    Code(Arc<Code>),
    /// With all branches that the new table grants, where they stand now.
    Table(Arc<Table>, BTreeMap<String, Arc<dyn Branch>>),
    /// A head moved: of a binding, by the name that the component knows.
    Branch {
        known: String,
        binding: String,
        branch: Arc<dyn Branch>,
    },
    Upstreams(Arc<[Upstream]>),
}

impl Change {
    /// A later change replaces an earlier one of the same thing.
    pub(crate) fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Code(_), Self::Code(_)) | (Self::Upstreams(_), Self::Upstreams(_)) => true,
            (Self::Table(..), Self::Table(..)) => true,
            (Self::Branch { known, binding, .. }, Self::Branch { known: earlier, binding: of, .. }) => {
                (known, binding) == (earlier, of)
            }
            _ => false,
        }
    }

    pub(crate) fn table(&self) -> Option<&Arc<Table>> {
        if let Self::Table(table, _) = self { Some(table) } else { None }
    }

    /// False for a head that moved of what `table` does not grant by that name.
    pub(crate) fn concerns(&self, table: &Table) -> bool {
        let Self::Branch { known, binding, .. } = self else { return true };
        table.git.get(known).is_some_and(|grant| grant.binding == *binding)
    }

    pub(crate) fn apply(&self, draft: &mut Draft) {
        match self {
            Self::Code(code) => draft.code = Some(code.clone()),
            Self::Table(table, branches) => {
                let mut branches = branches.clone();
                // What is bound as before stays where it was proved: a head that moved is a change of its own, and if it
                // is bad it must not hold up the table.
                for (name, branch) in &mut branches {
                    let same = |table: &Table| table.git.get(name).map(|grant| grant.binding.clone());
                    if let Some(proved) = draft.branches.get(name)
                        && same(&draft.table) == same(table)
                    {
                        *branch = proved.clone();
                    }
                }
                draft.branches = branches;
                draft.table = table.clone();
            }
            Self::Branch { known, branch, .. } => {
                if self.concerns(&draft.table)
                    && let Some(granted) = draft.branches.get_mut(known)
                    // That nobody knows any more what is there is no news.
                    && (branch.is_known() || !granted.is_known())
                {
                    *granted = branch.clone();
                }
            }
            Self::Upstreams(upstreams) => draft.upstreams = upstreams.clone(),
        }
    }
}

/// Inputs that may lack the one thing that can be missing: a file that was not there, or is no component.
#[derive(Clone)]
pub struct Draft {
    pub code: Option<Arc<Code>>,
    pub table: Arc<Table>,
    pub branches: BTreeMap<String, Arc<dyn Branch>>,
    pub upstreams: Arc<[Upstream]>,
}

impl Draft {
    /// Nothing where there is no file.
    pub fn complete(&self) -> Option<Inputs> {
        let code = self.code.clone()?;
        let router = code.surface().role == Some(Role::Router);
        let upstreams = if router { self.upstreams.clone() } else { Arc::default() };
        Some(Inputs { code, table: self.table.clone(), branches: self.branches.clone(), upstreams })
    }

    /// What leads from this one to another.
    pub(crate) fn changes_to(&self, to: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.table.hash == to.table.hash {
            for (known, branch) in &to.branches {
                let same = self.branches.get(known).is_some_and(|old| old.stands_as(&**branch));
                if !same && let Some(grant) = to.table.git.get(known) {
                    let (known, binding, branch) = (known.clone(), grant.binding.clone(), branch.clone());
                    changes.push(Change::Branch { known, binding, branch });
                }
            }
        } else {
            changes.push(Change::Table(to.table.clone(), to.branches.clone()));
        }
        if self.upstreams != to.upstreams {
            changes.push(Change::Upstreams(to.upstreams.clone()));
        }
        if let Some(code) = &to.code
            && self.code.as_ref().is_none_or(|old| old.digest() != code.digest())
        {
            changes.push(Change::Code(code.clone()));
        }
        changes
    }

    pub(crate) fn of(inputs: &Inputs) -> Self {
        let Inputs { code, table, branches, upstreams } = inputs.clone();
        Self { code: Some(code), table, branches, upstreams }
    }
}

/// Writes down what was proved, before it serves: what a restart begins with. May block.
pub trait Ledger: Send + Sync + 'static {
    /// # Errors
    /// In words for the log; the generation serves all the same.
    fn proved(&self, component: &str, generation: &Generation) -> Result<(), String>;
}

/// What a slot begins with.
pub struct Start {
    /// What a former run proved, under today's table.
    pub proved: Option<Inputs>,
    /// Whether today's table is the one that it was proved under: then it serves at once.
    pub unchanged: bool,
    /// What stands on disk and in Git today.
    pub current: Draft,
    /// Proves nothing by itself: it waits for a [`Slot::prepare`].
    pub held: bool,
}

/// One component of the manifest, whatever generation of it serves.
pub struct Slot {
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Message>,
}

pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) serving: ArcSwapOption<Generation>,
    /// Why the newest candidate does not serve.
    pub(crate) error: Mutex<Option<Disproof>>,
    /// Whether what serves was proved by a former run alone, and not by what the manifest says today.
    pub(crate) unproved: AtomicBool,
    /// What was refused, and waits no more.
    pub(crate) refused: Mutex<Refused>,
    /// The generation that serves; 0 before the first.
    pub(crate) switched: watch::Sender<u64>,
    /// Older generations that may still be at work, oldest first.
    pub(crate) draining: Mutex<Vec<Draining>>,
    /// What older generations had done when they were switched from.
    past: Mutex<Usage>,
}

/// Whence bytes came that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// That is over when something else serves.
    ByHand,
    /// That is so until other code serves, or the file is another one.
    AsItsFile,
}

/// Why what was given last was refused.
#[derive(Clone, Default)]
pub(crate) struct Refused {
    pub(crate) by_hand: Option<Disproof>,
    pub(crate) file: Option<Disproof>,
}

pub(crate) struct Draining {
    pub(crate) reset: CancellationToken,
    pub(crate) counts: Arc<Counts>,
}

pub(crate) type Reply = oneshot::Sender<Result<(), Disproof>>;

pub(crate) enum Message {
    Changed(Vec<Change>, Option<Reply>),
    /// The same of one that is given up where it does not pass.
    Attempt(Change, Reply),
    Prepare(Vec<Change>, oneshot::Sender<Result<Prepared, Disproof>>),
}

/// Changes that have their turn.
pub struct Offered(oneshot::Receiver<Result<(), Disproof>>);

impl Offered {
    /// Returns when they serve, or with what was found wrong.
    pub async fn outcome(self) -> Result<(), Disproof> {
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// A candidate that was proved and waits to be switched to together with others. Dropped, it is given up.
pub struct Prepared(pub(crate) oneshot::Sender<oneshot::Sender<()>>);

impl Prepared {
    /// Switches, and returns when it has happened.
    pub async fn switch(self) {
        let (done, switched) = oneshot::channel();
        if self.0.send(done).is_ok() {
            let _ = switched.await;
        }
    }
}

impl Slot {
    /// Begins to look after a component. Returns at once; what was proved before, and is the same today, serves from the
    /// first moment.
    pub fn new(runtime: Arc<Runtime>, ledger: Arc<dyn Ledger>, name: Arc<str>, start: Start) -> Arc<Self> {
        let shared = Arc::new(Shared {
            name,
            serving: ArcSwapOption::empty(),
            error: Mutex::default(),
            unproved: AtomicBool::default(),
            refused: Mutex::default(),
            switched: watch::Sender::new(0),
            draining: Mutex::default(),
            past: Mutex::default(),
        });
        let (inbox, messages) = mpsc::channel(64);
        let keeper = Keeper::new(runtime, ledger, shared.clone(), messages, start);
        tokio::spawn(keeper.run());
        Arc::new(Self { shared, inbox })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// What new requests go to; none before the first proof.
    pub fn serving(&self) -> Option<Arc<Generation>> {
        self.shared.serving.load_full()
    }

    /// Follows the switches, by the id of the generation that serves; 0 before the first.
    pub fn switches(&self) -> watch::Receiver<u64> {
        self.shared.switched.subscribe()
    }

    /// Why the newest candidate does not serve, if it does not.
    pub fn error(&self) -> Option<Disproof> {
        let error = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Refused { by_hand, file } = self.shared.refused().clone();
        [error, by_hand, file].into_iter().flatten().reduce(|mut all, next| {
            all.problems.extend(next.problems);
            all
        })
    }

    /// Whether what serves has still to be proved.
    pub fn is_unproved(&self) -> bool {
        self.shared.unproved.load(Ordering::Relaxed)
    }

    /// Notes that what was given is not tried any more: it is no component, or one for something else, or did not pass.
    pub fn refuse(&self, given: Given, why: impl Into<String>) {
        let mut refused = self.shared.refused();
        let refused = match given {
            Given::ByHand => &mut refused.by_hand,
            Given::AsItsFile => &mut refused.file,
        };
        *refused = Some(Disproof::of(why, false));
    }

    /// Its file is what serves again: what was refused meanwhile, if anything was, is nobody's concern any more.
    pub fn pardon(&self) -> bool {
        let Refused { by_hand, file } = std::mem::take(&mut *self.shared.refused());
        by_hand.or(file).is_some()
    }

    /// What it has done since the host started, whatever generation did it, and what it holds now.
    pub fn usage(&self) -> Usage {
        let past = *self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.serving().map(|serving| serving.usage()).unwrap_or_default();
        Usage { requests: past.requests + now.requests, traps: past.traps + now.traps, ..now }
    }

    /// Older generations that still carry something.
    pub fn draining(&self) -> usize {
        self.shared.draining().len()
    }

    /// Makes a candidate of these changes; returns when they serve, or with what was found wrong.
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), Disproof> {
        self.offer(changes).await.outcome().await
    }

    /// The same: returns when they have their place before what is offered later.
    pub async fn offer(&self, changes: Vec<Change>) -> Offered {
        let (reply, answer) = oneshot::channel();
        let _ = self.inbox.send(Message::Changed(changes, Some(reply))).await;
        Offered(answer)
    }

    /// The same of a change that does not wait for later ones where it does not pass.
    pub async fn attempt(&self, change: Change) -> Offered {
        let (reply, answer) = oneshot::channel();
        let _ = self.inbox.send(Message::Attempt(change, reply)).await;
        Offered(answer)
    }

    /// The same, where nobody wants to know.
    pub async fn notify(&self, changes: Vec<Change>) {
        let _ = self.inbox.send(Message::Changed(changes, None)).await;
    }

    /// Proves a candidate without switching to it.
    pub async fn prepare(&self, changes: Vec<Change>) -> Result<Prepared, Disproof> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inbox.send(Message::Prepare(changes, reply)).await;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Disproof {
    Disproof::of("it is no part of the manifest any more, or the host is stopping", true)
}

impl Shared {
    pub(crate) fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends new requests to `generation`; gives the one before it.
    pub(crate) fn switch(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        let id = generation.id();
        let old = self.serving.swap(Some(generation));
        if let Some(old) = &old {
            let usage = old.usage();
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            past.requests += usage.requests;
            past.traps += usage.traps;
        }
        self.switched.send_replace(id);
        old
    }

    /// Those that are still at work.
    pub(crate) fn draining(&self) -> MutexGuard<'_, Vec<Draining>> {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.retain(|generation| generation.counts.busy());
        draining
    }

    /// Nothing waits any more. Whether anything was wrong.
    pub(crate) fn clear(&self) -> bool {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}
