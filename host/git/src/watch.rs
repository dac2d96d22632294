//! File watches for all bindings: one inotify instance, since a user has few. It wakes whoever waits, and knows nothing of
//! what they do then. A missed event is the poll's to make good.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::{
    sync::Notify,
    time::{Duration, Instant, timeout, timeout_at},
};

use crate::disk::{Identity, lock};

/// A directory's files change one by one: they are taken in when nothing has changed for so long...
const QUIET: Duration = Duration::from_millis(30);

/// ...or something has for so long.
const RESTLESS: Duration = Duration::from_millis(500);

/// A handle: clones share the watches.
#[derive(Clone)]
pub struct Watcher(Arc<Hub>);

struct Hub {
    routes: Routes,
    /// How often inotify had something to complain of: a new directory that got no watch, for one.
    faults: Arc<AtomicU64>,
    /// Made when the first watch is asked for, and asked for again where it was refused.
    notify: Mutex<Option<RecommendedWatcher>>,
    start: Start,
}

type Start = fn(Routes, Arc<AtomicU64>) -> Result<RecommendedWatcher, notify::Error>;

type Routes = Arc<Mutex<Vec<Route>>>;

/// Who is woken by what.
#[derive(Clone)]
struct Route {
    point: Point,
    wake: Arc<Notify>,
    grown: Arc<AtomicBool>,
    torn: Arc<AtomicBool>,
}

/// A directory to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    path: PathBuf,
    interest: Interest,
    /// Another directory at the same path has to be watched anew.
    identity: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// What has this name in it, or has it no more.
    Entry(OsString),
    /// HEAD and packed-refs, which lie in it.
    Names,
    /// Refs, in it and below.
    Refs,
    /// Everything in it and below.
    Files,
}

/// Watches that end when it is dropped.
pub(crate) struct Watched {
    hub: Arc<Hub>,
    wake: Arc<Notify>,
    points: Vec<Point>,
    /// Whether a directory came that may not be watched yet.
    grown: Arc<AtomicBool>,
    /// Whether one of ours was taken away, or is watched no more: what tells of the one may take the watch from what is in
    /// its place.
    torn: Arc<AtomicBool>,
    /// The hub's, when it began.
    faults: u64,
}

impl Watcher {
    fn starting(start: Start) -> Self {
        Self(Arc::new(Hub { routes: Routes::default(), faults: Arc::default(), notify: Mutex::default(), start }))
    }

    /// One that gets no watches, as where the user has no more.
    #[cfg(test)]
    pub(crate) fn refusing() -> Self {
        Self::starting(|_, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)))
    }

    /// As inotify does when it has no more watches.
    #[cfg(test)]
    pub(crate) fn complain(&self) {
        self.0.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Wakes `wake` whenever something happens at one of `points`. Blocks: a watch a directory.
    pub(crate) fn watch(&self, points: Vec<Point>, wake: &Arc<Notify>) -> Result<Watched, notify::Error> {
        let hub = &self.0;
        let mut notify = lock(&hub.notify);
        let inotify = match &mut *notify {
            Some(inotify) => inotify,
            none => none.insert((hub.start)(hub.routes.clone(), hub.faults.clone())?),
        };
        // From here on dropping it takes back what was done.
        let faults = hub.faults.load(Ordering::Relaxed);
        let watched = Watched {
            hub: hub.clone(),
            wake: wake.clone(),
            points,
            grown: Arc::default(),
            torn: Arc::default(),
            faults,
        };
        let routes = watched.points.iter().map(|point| Route {
            point: point.clone(),
            wake: wake.clone(),
            grown: watched.grown.clone(),
            torn: watched.torn.clone(),
        });
        let routes = {
            let mut all = lock(&hub.routes);
            all.extend(routes);
            all.clone()
        };
        let begun = watched.points.iter().try_for_each(|point| inotify.watch(&point.path, point.mode(&routes)));
        drop(notify);
        begun.map(|()| watched)
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::starting(start)
    }
}

impl Point {
    /// Nothing if there is no such directory. It has one path here, however it is named: inotify knows a directory once,
    /// and tells what happens in it by the path that was given last.
    pub(crate) fn at(path: &Path, interest: Interest) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let identity = Identity::of(&path).ok()?;
        Some(Self { path, interest, identity })
    }

    /// Whether a change is likely to be followed by others that belong to it.
    pub(crate) fn gathers(&self) -> bool {
        self.interest == Interest::Files
    }

    fn is_deep(&self) -> bool {
        matches!(self.interest, Interest::Refs | Interest::Files)
    }

    /// A shallow watch would take from a deep one, at the same directory or above it, what is below.
    fn mode(&self, routes: &[Route]) -> RecursiveMode {
        let deep = routes.iter().any(|route| route.point.is_deep() && self.path.starts_with(&route.point.path));
        if deep || self.is_deep() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive }
    }

    /// Whether the directory itself went away.
    fn is_taken_by(&self, event: &Event) -> bool {
        let gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        gone && event.paths.contains(&self.path)
    }

    /// Whether something may have changed for who watches here.
    fn concerns(&self, kind: EventKind, path: &Path) -> bool {
        if !path.starts_with(&self.path) {
            return false;
        }
        let written = match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            // Both halves of a rename come by themselves too.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => false,
            EventKind::Modify(ModifyKind::Metadata(_)) => self.interest == Interest::Files,
            _ => true,
        };
        let name = path.file_name().unwrap_or_default();
        let named = match &self.interest {
            Interest::Entry(entry) => path == self.path || path == self.path.join(entry),
            Interest::Files => true,
            // A lock only says that something is about to happen.
            Interest::Refs => path.extension() != Some(OsStr::new("lock")),
            Interest::Names => path == self.path || name == "HEAD" || name == "packed-refs",
        };
        written && named
    }
}

impl Watched {
    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    /// Waits until the directories are watched whose coming woke us: what happened in them before that is told by no
    /// event, and has to be fetched after it.
    pub(crate) fn catch_up(&self) {
        if self.grown.swap(false, Ordering::Relaxed)
            && let Some(inotify) = &mut *lock(&self.hub.notify)
        {
            // Changes nothing: it is answered when the watches that the last events called for stand.
            let _ = inotify.configure(Config::default());
        }
    }

    /// Whether nothing may have been missed since it began.
    pub(crate) fn is_sound(&self) -> bool {
        self.hub.faults.load(Ordering::Relaxed) == self.faults && !self.torn.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut notify = lock(&self.hub.notify);
        let mut routes = lock(&self.hub.routes);
        routes.retain(|route| !Arc::ptr_eq(&route.wake, &self.wake) || !self.points.contains(&route.point));
        let left = routes.clone();
        drop(routes);
        let Some(watcher) = &mut *notify else { return };
        for point in &self.points {
            // It may have gone with its directory.
            let _ = watcher.unwatch(&point.path);
        }
        // Ending one ends what others watch at or below the same path; they look for what they missed.
        for route in &left {
            if self.points.iter().any(|point| route.point.path.starts_with(&point.path)) {
                if watcher.watch(&route.point.path, route.point.mode(&left)).is_err() {
                    route.torn.store(true, Ordering::Relaxed);
                }
                route.wake.notify_one();
            }
        }
    }
}

fn start(routes: Routes, faults: Arc<AtomicU64>) -> Result<RecommendedWatcher, notify::Error> {
    let handler = move |event: Result<Event, notify::Error>| {
        if event.is_err() {
            faults.fetch_add(1, Ordering::Relaxed);
        }
        for route in &*lock(&routes) {
            let concerned = match &event {
                Ok(event) if event.need_rescan() => true,
                Ok(event) => event.paths.iter().any(|path| route.point.concerns(event.kind, path)),
                Err(_) => true,
            };
            if concerned {
                if event.as_ref().is_ok_and(brings_directory) {
                    route.grown.store(true, Ordering::Relaxed);
                }
                if event.as_ref().is_ok_and(|event| route.point.is_taken_by(event)) {
                    route.torn.store(true, Ordering::Relaxed);
                }
                route.wake.notify_one();
            }
        }
    };
    RecommendedWatcher::new(handler, Config::default().with_follow_symlinks(false))
}

fn brings_directory(event: &Event) -> bool {
    match event.kind {
        EventKind::Create(kind) => kind == CreateKind::Folder,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            event.paths.iter().any(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
        }
        _ => false,
    }
}

/// Waits until what belongs to the change that woke us has come, too.
pub(crate) async fn gather(wake: &Notify) {
    let latest = Instant::now() + RESTLESS;
    while Instant::now() < latest {
        let quiet = timeout(QUIET, timeout_at(latest, wake.notified())).await;
        if quiet.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_a_watch_to_another_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().canonicalize().unwrap().join("below");
        fs::create_dir(&below).unwrap();
        let watcher = Watcher::default();
        let watch = |path: &Path| {
            let point = Point::at(path, Interest::Files).unwrap();
            watcher.watch(vec![point], &Arc::default()).unwrap()
        };
        let other = watch(&below);
        drop(watch(folder.path()));
        assert!(other.is_sound());
        let above = watch(folder.path());
        // As where it went, and nobody has told yet.
        for route in lock(&watcher.0.routes).iter_mut().filter(|route| route.point.path == below) {
            route.point.path.push("gone");
        }
        drop(above);
        assert!(!other.is_sound());
    }
}
