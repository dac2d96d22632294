//! Fetching and pushing beside the `git` program: the same operation, the same server, by turns.

mod clients;
mod lookup;
mod memory;
mod origins;
mod relay;

use std::fs;

use self::{
    clients::{Copy, Operation},
    origins::{SIZES, Size, WAYS, Way},
};
pub(crate) use self::{lookup::lookup, memory::memory, origins::Origins};
use crate::{
    progress::Progress,
    table::{GIT, Lane, OURS, Row},
};

/// Their scenarios, all that is measured beside git.
pub(crate) const GITS: [&str; 6] = ["git-clone", "git-unchanged", "git-fetch", "git-push", "git-memory", "git-lookup"];

/// Milliseconds of one operation, by each way to each repository.
pub(crate) async fn contest(
    origins: &Origins,
    scenario: &'static str,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let (operation, title) = match scenario {
        "git-clone" => (Operation::Clone, "a first fetch"),
        "git-unchanged" => (Operation::Unchanged, "nothing to fetch"),
        "git-fetch" => (Operation::Fetch, "one commit fetched"),
        _ => (Operation::Push, "one commit pushed"),
    };
    let mut rows = Vec::new();
    for size in &SIZES {
        for way in WAYS {
            progress.show(&format!("{title}: {}, {}", size.title, way.title()));
            let lanes = lanes(origins, operation, size, way, rounds).await?;
            let title = format!("{title}, {}, {}", size.title, way.title());
            rows.push(Row { scenario, title, unit: "ms", lanes: lanes.into(), note: String::new() });
        }
    }
    Ok(rows)
}

async fn lanes(
    origins: &Origins,
    operation: Operation,
    size: &Size,
    way: Way,
    rounds: usize,
) -> anyhow::Result<[Lane; 2]> {
    let folder = tempfile::tempdir()?;
    let mut lanes = [OURS, GIT].map(Lane::new);
    let place = |name: String| folder.path().join(name);
    let (mut ours, _) = Copy::ours(origins, way, size, &place("ours".to_owned())).await?;
    let (git, _) = Copy::git(origins, way, size, &place("git".to_owned()))?;
    if operation == Operation::Push {
        ours.follow();
    }
    let copies = [ours, git];
    // What comes first of everything is not counted.
    for round in 0..=rounds {
        for turn in 0..2 {
            let at = (turn + round) % 2;
            let fresh = place(format!("{round}-{at}"));
            let taken = match (operation, at) {
                (Operation::Clone, 0) => Copy::ours(origins, way, size, &fresh).await?.1,
                (Operation::Clone, _) => Copy::git(origins, way, size, &fresh)?.1,
                _ => copies[at].run(operation, origins, way, size).await?,
            };
            if fresh.exists() {
                fs::remove_dir_all(&fresh)?;
            }
            if round > 0 {
                lanes[at].values.push(taken.as_secs_f64() * 1e3);
                lanes[at].bytes.extend(origins.relay(way).map(relay::Relay::took));
            }
        }
    }
    Ok(lanes)
}
