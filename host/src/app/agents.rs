//! Wakes agents: when they asked to be, when they have a new generation (their bytes, or a branch that they read, changed;
//! not for a commit of their own), and after an error with growing delays.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use atoll_runtime::{Digest, Generation, Role, Slot};

/// After an error in a row, how long until the next try.
const RETRY: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
];
/// Own commits that are remembered.
const OWN: usize = 64;
/// A clock that is set, or a machine that slept, is noticed after this long.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Looks after `slot` for as long as it is an agent's; does nothing while it is another's.
pub(super) async fn wake(slot: Arc<Slot>, now: impl Fn() -> SystemTime + Send) {
    let mut switches = slot.switches();
    // Seconds since the Unix epoch.
    let mut due: Option<u64> = None;
    let mut failures = 0;
    let mut known = Known::default();
    switches.mark_changed();
    loop {
        let wait = due.map_or(LONGEST_SLEEP, |due| Duration::from_secs(due.saturating_sub(seconds(now()))));
        let switched = tokio::select! {
            changed = switches.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => false,
        };
        let Some(generation) = slot.serving().filter(|generation| generation.role() == Role::Agent) else {
            due = None;
            continue;
        };
        let switched = switched && known.news(&generation);
        if !switched && due.is_none_or(|due| due > seconds(now())) {
            continue;
        }
        let started = seconds(now());
        due = if let Ok(next) = generation.tick(started).await {
            failures = 0;
            // Not at once again, whatever it asks: an agent in a hurry must not eat a processor.
            next.map(|next| next.max(started + 1))
        } else {
            let delay = RETRY[failures.min(RETRY.len() - 1)];
            failures += 1;
            Some(seconds(now()) + delay.as_secs())
        };
        known.published(&generation);
    }
}

/// What an agent was woken for last, and what it has made of it.
#[derive(Default)]
struct Known {
    digest: Option<Digest>,
    table: Option<Digest>,
    revisions: BTreeMap<String, String>,
    /// Its own commits.
    own: VecDeque<String>,
}

impl Known {
    /// Whether there is more to `generation` than what the agent itself has published.
    fn news(&mut self, generation: &Generation) -> bool {
        let (digest, table) = (Some(generation.digest()), Some(generation.inputs().table.hash));
        let revisions = generation.revisions();
        let same_component = self.digest == digest && self.table == table;
        let known = |(name, revision): (&String, &String)| {
            self.revisions.get(name) == Some(revision) || self.own.contains(revision)
        };
        let news = !same_component || !revisions.iter().all(known);
        (self.digest, self.table, self.revisions) = (digest, table, revisions.clone());
        news
    }

    fn published(&mut self, generation: &Generation) {
        self.own.extend(generation.published());
        while self.own.len() > OWN {
            self.own.pop_front();
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
