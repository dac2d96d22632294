//! Following one remote: fetched when its files change, when somebody asks, after a failure with growing delays, and at
//! worst when the poll's turn comes. One fetch at a time, and what comes meanwhile is one more fetch after it. It decides
//! nothing about what was fetched.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use atoll_net::with_causes;
use gix::ObjectId;
use notify::ErrorKind;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, spawn_blocking},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    FetchError, Fetched, Location, Remote, Repository, ServerError, StageError, Staging,
    pace::{Pace, RETRY},
    push,
    remote::local::Local,
    smart::RESPITE,
    watch::{Point, Watched, Watcher, gather},
};

/// A sync holds up whoever writes to the same file system, so that pushes that come together share one.
const SETTLE: Duration = Duration::from_millis(500);

/// What could not be synced or tidied is tried again after so long, or with the next push.
const UNTIDY: Duration = Duration::from_mins(1);

/// Who asks waits for the same fetch; more than so many at once is not one's own hook any more.
const ASKING: usize = 1024;

/// What is found damaged is fetched again at once, and then not for so long, and twice as long each time: it may be the disk,
/// or nothing that is to be had any more.
const MENDING: Duration = Duration::from_secs(10);

/// So often is looked at once for what is to be watched, while it changes; and then a while later.
const UNSETTLED: usize = 4;

/// What happened, for the log. The head itself is in [`Repository::heads`].
#[derive(Clone, Debug)]
pub enum Event {
    /// The head moved. The lines say what of it nobody will see.
    Moved(Vec<String>),
    /// The branch is not there any more, in these words; its last head stays.
    Gone(String),
    /// There is no commit yet.
    Unborn,
    /// Told once for each message, however often it is tried.
    Failed(Arc<FetchError>),
    /// It can be fetched again after a failure, and stands where it stood.
    Recovered,
    /// This object was read, and is missing or damaged in our copy: it is fetched again.
    Damaged(ObjectId),
    /// Its files are watched.
    Watching,
    /// They cannot be, for this reason: changes are seen when the poll's turn comes.
    Polling(String),
    /// What was fetched could not be synced to the disk, or our repository not be tidied; it is tried again. Told once for
    /// each message.
    Untidy(String),
}

/// A remote that is being followed, until it is dropped.
pub struct Follower {
    asks: mpsc::Sender<Asking>,
    repository: Repository,
    remote: Remote,
    number: u64,
    moved: Arc<Notify>,
    tasks: [AbortHandle; 2],
}

type Outcome = Result<Fetched, Arc<FetchError>>;
type Asking = oneshot::Sender<Outcome>;

impl Follower {
    /// Follows `remote` into `repository`, and looks at least every `poll`, which is not less than 10 ms. `report` hears what
    /// happens and must not block. Called within a tokio runtime.
    pub fn start(
        repository: Repository,
        remote: Remote,
        watcher: Watcher,
        poll: Duration,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let (asks, asked) = mpsc::channel(ASKING);
        let report: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(report);
        let moved = Arc::new(Notify::new());
        let settling = tokio::spawn(settle(repository.clone(), moved.clone(), UNTIDY, report.clone()));
        let (ours, theirs, told) = (repository.clone(), remote.clone(), moved.clone());
        let number = repository.next_follower();
        let round = Round {
            repository,
            number,
            remote,
            watcher,
            wake: Arc::default(),
            watched: None,
            refused: None,
            missed: false,
        };
        let poll = poll.max(Duration::from_millis(10));
        let pace = Pace::of(&theirs, poll);
        let following = Following { pace, report, moved, told: String::new() };
        let following = tokio::spawn(following.run(round, asked));
        let tasks = [following.abort_handle(), settling.abort_handle()];
        Self { asks, repository: ours, remote: theirs, number, moved: told, tasks }
    }

    /// Fetches now: what the remote stood at when this was called is what it finds, or something newer. But of a server that
    /// asked to be left alone for a while it is told what that said.
    pub async fn fetch(&self) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let sent = self.asks.send(answer).await;
        match (sent, answered.await) {
            (Ok(()), Ok(outcome)) => outcome,
            // The runtime ends.
            _ => Err(Arc::new(FetchError::Ended)),
        }
    }

    /// Fetches, and begins a tree on top of what the remote stands at: of a branch that is not there, on top of nothing.
    pub async fn stage(&self) -> Result<Staging, OpenError> {
        let there = match self.fetch().await {
            Ok(Fetched::Moved { .. } | Fetched::Unchanged) => true,
            Ok(Fetched::Unborn | Fetched::Gone(_)) => false,
            Err(error) if error.is_no_branch() => false,
            Err(error) => return Err(OpenError::Fetch(error)),
        };
        let (repository, remote, number, moved) =
            (self.repository.clone(), self.remote.clone(), self.number, self.moved.clone());
        let staging = spawn_blocking(move || {
            match &remote.location {
                Location::Local(path) if matches!(Local::find(path), Ok(Local::Directory(_))) => {
                    return Err(OpenError::Directory(path.clone()));
                }
                // Which branch is begun is asked before anybody works for it in vain.
                Location::Server(server) if !there => {
                    let branch = remote.branch.as_deref();
                    push::full_name(server, branch).map_err(|why| OpenError::Branch(Arc::new(server.error(why))))?;
                }
                _ => {}
            }
            let head = if there { repository.head() } else { None };
            let base = repository.snapshot(head.map(|head| head.id)).map_err(StageError::from)?;
            Ok(Staging::new(base, remote, number, moved)?)
        });
        staging.await.unwrap_or_else(|_| Err(OpenError::Fetch(Arc::new(FetchError::Broken))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Location::Server(server) = &self.remote.location {
            // A thread may be waiting for it.
            server.stop();
        }
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Why nothing can be staged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Fetch(Arc<FetchError>),
    #[error(transparent)]
    Stage(Arc<StageError>),
    #[error("{0} is a plain directory, which has no commits: nothing can be pushed there")]
    Directory(PathBuf),
    /// Which branch is to be begun is not known.
    #[error(transparent)]
    Branch(Arc<ServerError>),
}

impl From<StageError> for OpenError {
    fn from(error: StageError) -> Self {
        Self::Stage(Arc::new(error))
    }
}

/// The task's own state.
struct Following {
    pace: Pace,
    report: Arc<dyn Fn(Event) + Send + Sync>,
    moved: Arc<Notify>,
    /// What was said last of how fetching goes.
    told: String,
}

/// What a round on a blocking thread needs, and hands back.
struct Round {
    repository: Repository,
    number: u64,
    remote: Remote,
    watcher: Watcher,
    wake: Arc<Notify>,
    watched: Option<Watched>,
    /// Why the watch was refused last.
    refused: Option<String>,
    /// Whether what was to be watched went away just then, or would not stand still: it has to be looked for again.
    missed: bool,
}

impl Following {
    async fn run(mut self, mut round: Round, mut asked: mpsc::Receiver<Asking>) {
        let (wake, repository) = (round.wake.clone(), round.repository.clone());
        let (mut asking, mut mended, mut mending) = (Vec::new(), Instant::now(), MENDING);
        let poll = self.pace.poll();
        loop {
            let again = round.again();
            let (returned, outcome, watch) = match spawn_blocking(move || round.run()).await {
                Ok(done) => done,
                Err(error) if error.is_panic() => (again, Err(FetchError::Broken), None),
                // The runtime ends.
                Err(_) => return,
            };
            round = returned;
            if let Some(event) = watch {
                (self.report)(event);
            }
            let (delay, refusal) = self.conclude(outcome, &mut asking);
            let next = Instant::now() + if round.missed { delay.min(RETRY) } else { delay };
            if let Some((refusal, respite)) = refusal
                && leave_alone(respite, &refusal, &mut asked).await.is_none()
            {
                return;
            }
            tokio::select! {
                () = wake.notified() => {
                    if round.gathers() {
                        gather(&wake).await;
                    }
                }
                first = asked.recv() => match first {
                    Some(first) => asking.push(first),
                    None => return,
                },
                id = async { sleep_until(mended).await; repository.0.suspect().await } => {
                    mending = if mended.elapsed() > poll { MENDING } else { (mending * 2).min(poll.max(MENDING)) };
                    mended = Instant::now() + mending;
                    self.told = id.to_string();
                    (self.report)(Event::Damaged(id));
                }
                () = sleep_until(next) => {}
            }
            while let Ok(one) = asked.try_recv() {
                asking.push(one);
            }
        }
    }

    /// Tells the log, and then who asked; and when to look again at the latest, and what a server said that is to be left alone,
    /// and for how long.
    fn conclude(
        &mut self,
        outcome: Result<Fetched, FetchError>,
        asking: &mut Vec<Asking>,
    ) -> (Duration, Option<(Arc<FetchError>, Duration)>) {
        let outcome = outcome.map_err(Arc::new);
        if let Ok(Fetched::Moved { notices, .. }) = &outcome {
            self.moved.notify_one();
            (self.report)(Event::Moved(notices.clone()));
        }
        let said = match &outcome {
            Ok(Fetched::Moved { .. } | Fetched::Unchanged) => String::new(),
            Ok(fetched) => format!("{fetched:?}"),
            Err(error) => without_details(&with_causes(error.as_ref())),
        };
        if said != self.told {
            match &outcome {
                Ok(Fetched::Moved { .. }) => {}
                Ok(Fetched::Unchanged) => (self.report)(Event::Recovered),
                Ok(Fetched::Gone(why)) => (self.report)(Event::Gone(why.clone())),
                Ok(Fetched::Unborn) => (self.report)(Event::Unborn),
                Err(error) => (self.report)(Event::Failed(error.clone())),
            }
            self.told = said;
        }
        // Who looks then finds it.
        for one in asking.drain(..) {
            // It may have gone.
            let _ = one.send(outcome.clone());
        }
        let respite = outcome.as_ref().err().and_then(|error| error.respite());
        let delay = self.pace.next(outcome.is_ok(), respite.unwrap_or_default());
        (delay, outcome.err().zip(respite))
    }
}

/// Asks nothing for so long, whoever wants it: they are told what the server said. Nothing at the end.
async fn leave_alone(respite: Duration, refusal: &Arc<FetchError>, asked: &mut mpsc::Receiver<Asking>) -> Option<()> {
    let until = Instant::now() + respite;
    loop {
        tokio::select! {
            one = asked.recv() => {
                // It may have gone.
                let _ = one?.send(Err(refusal.clone()));
            }
            () = sleep_until(until) => return Some(()),
        }
    }
}

/// The names of temporary files are others each time, and for how long a server is to be left alone: what failed is the same.
fn without_details(words: &str) -> String {
    let ends = [" at path \"", RESPITE].into_iter().filter_map(|detail| words.find(detail));
    words[..ends.min().unwrap_or(words.len())].to_owned()
}

impl Round {
    /// The same from its beginning, should this one not come back.
    fn again(&self) -> Self {
        Self {
            repository: self.repository.clone(),
            number: self.number,
            remote: self.remote.clone(),
            watcher: self.watcher.clone(),
            wake: self.wake.clone(),
            watched: None,
            refused: None,
            missed: false,
        }
    }

    /// Fetches, and only then looks after the watch: that is off the way of a push. What happened before a watch began has
    /// to be fetched after it; and what is to be watched may have become more meanwhile.
    fn run(mut self) -> (Self, Result<Fetched, FetchError>, Option<Event>) {
        self.missed = false;
        let (mut fetched, mut watch) = (None, None);
        for _ in 0..UNSETTLED {
            if let Some(watched) = &self.watched {
                watched.catch_up();
                fetched = Some(self.fetch_after(fetched));
            }
            let points = self.points();
            if self.watched.as_ref().is_some_and(|watched| watched.is_sound() && watched.points() == points) {
                let outcome = fetched.unwrap_or_else(|| self.fetch());
                return (self, outcome, watch);
            }
            // Ended first: both may be at the same paths.
            self.watched = None;
            watch = self.begin(points).or(watch);
            if self.watched.is_none() {
                break;
            }
        }
        self.missed |= self.watched.is_some();
        let outcome = self.fetch_after(fetched);
        (self, outcome, watch)
    }

    /// Once more, in the same round: a head that moved before has moved all the same.
    fn fetch_after(&self, before: Option<Result<Fetched, FetchError>>) -> Result<Fetched, FetchError> {
        match (before, self.fetch()) {
            (Some(moved @ Ok(Fetched::Moved { .. })), Ok(Fetched::Unchanged) | Err(_)) => moved,
            (_, again) => again,
        }
    }

    fn fetch(&self) -> Result<Fetched, FetchError> {
        self.repository.fetch_as(self.number, &self.remote, SystemTime::now())
    }

    fn begin(&mut self, points: Vec<Point>) -> Option<Event> {
        match self.watcher.watch(points, &self.wake) {
            Ok(watched) => {
                self.watched = Some(watched);
                self.refused = None;
                Some(Event::Watching)
            }
            Err(error) if is_gone(&error) => {
                self.missed = true;
                None
            }
            Err(error) => {
                let why = error.to_string();
                let told = self.refused.replace(why.clone());
                (told.as_ref() != Some(&why)).then_some(Event::Polling(why))
            }
        }
    }

    /// What is there, and its place: another may be put into it.
    fn points(&self) -> Vec<Point> {
        let Location::Local(path) = &self.remote.location else { return Vec::new() };
        let points = Local::points(path, self.remote.branch.as_deref());
        points.into_iter().filter_map(|(path, interest)| Point::at(&path, interest)).collect()
    }

    fn gathers(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.points().iter().any(Point::gathers))
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Syncs what was fetched, beside the fetches and a while after them; and now and then tidies. After a failure it is tried
/// `again`.
pub(crate) async fn settle(
    repository: Repository,
    moved: Arc<Notify>,
    again: Duration,
    report: Arc<dyn Fn(Event) + Send + Sync>,
) {
    let mut failing = String::new();
    loop {
        if failing.is_empty() {
            moved.notified().await;
        } else {
            let _ = timeout(again, moved.notified()).await;
        }
        sleep(SETTLE).await;
        let repository = repository.clone();
        let tidied = spawn_blocking(move || {
            repository.settle().map_err(|error| with_causes(&error))?;
            repository.tidy().map_err(|error| with_causes(&error))
        });
        let why = tidied.await.ok().and_then(Result::err).unwrap_or_default();
        if !why.is_empty() && why != failing {
            report(Event::Untidy(why.clone()));
        }
        failing = why;
    }
}
