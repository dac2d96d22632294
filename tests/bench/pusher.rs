//! Somebody who publishes all the time: a commit to the branch that this host serves; for the others, a new file in place of
//! the old.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::git::Repository;

const EVERY: Duration = Duration::from_millis(50);

/// The file that changes; nobody asks for it.
pub(crate) const NEWS: &str = "news.html";

#[derive(Clone)]
pub(crate) enum Pushes {
    /// To `main` of a bare repository.
    Branch(PathBuf),
    /// Into a folder.
    Folder(PathBuf),
}

/// Goes on until it is dropped.
pub(crate) struct Pusher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pusher {
    pub(crate) fn start(pushes: Pushes) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let repository = match &pushes {
                Pushes::Branch(path) => Some(Repository::open(path)),
                Pushes::Folder(_) => None,
            };
            let mut next = Instant::now();
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let text = format!("{number} of {:?}\n", thread::current().id());
                match (&pushes, &repository) {
                    (Pushes::Branch(_), Some(repository)) => drop(repository.change("main", &[(NEWS, &text)])),
                    (Pushes::Folder(folder) | Pushes::Branch(folder), _) => {
                        let fresh = folder.join(".news");
                        fs::write(&fresh, text).expect("the folder is ours");
                        fs::rename(&fresh, folder.join(NEWS)).expect("the folder is ours");
                    }
                }
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What it panicked with, it has said.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
