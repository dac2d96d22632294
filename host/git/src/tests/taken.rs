//! What a fetch takes while it runs, of memory and on disk: looked at all the while, in a process in which nothing else runs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::support::anonymous;

/// Set in a process in which one test runs.
const ALONE: &str = "ATOLL_TEST_ALONE";

/// Whether nothing runs beside the test `name` (below `tests::`). If not, it has run by itself when this returns, and well.
pub(super) fn is_alone(name: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let arguments = ["--exact", &format!("tests::{name}"), "--test-threads", "1", "--nocapture"];
    let output = Command::new(env::current_exe().unwrap()).args(arguments).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    false
}

/// Looks at both until it is asked.
pub(super) struct Taken {
    over: Arc<AtomicBool>,
    looking: JoinHandle<(u64, u64)>,
    before: (u64, u64),
}

impl Taken {
    /// By this process, and below `state`.
    pub(super) fn of(state: &Path) -> Self {
        let (over, state) = (Arc::<AtomicBool>::default(), state.to_owned());
        let before = (anonymous(), bytes(&state));
        let ended = over.clone();
        let looking = thread::spawn(move || {
            let mut most = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                most = (most.0.max(anonymous()), most.1.max(bytes(&state)));
                thread::sleep(Duration::from_micros(500));
            }
            most
        });
        Self { over, looking, before }
    }

    /// The most that there was more than before, in bytes: of memory, and on disk.
    pub(super) fn most(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        let most = self.looking.join().unwrap();
        (most.0.saturating_sub(self.before.0), most.1.saturating_sub(self.before.1))
    }
}

/// What the files below a directory have; some may go meanwhile.
pub(super) fn bytes(directory: &Path) -> u64 {
    let (mut bytes, mut directories) = (0, vec![PathBuf::from(directory)]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    bytes
}
