//! What finding a path takes, in a tree that was read before.

use std::time::{Instant, SystemTime};

use anyhow::ensure;
use atoll_git::{Remote, Store};

use super::{clients::MEMORY, origins::import};
use crate::{
    progress::Progress,
    table::{Lane, OURS, Row},
};

const FILES: usize = 100_000;

/// Below the root, or in so many directories.
const DIRECTORIES: [usize; 2] = [1, 1_000];

/// Microseconds a lookup, each file in an order of no meaning.
pub(crate) fn lookup(rounds: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for directories in DIRECTORIES {
        progress.show(&format!("lookup: {directories}"));
        let folder = tempfile::tempdir()?;
        let (origin, state) = (folder.path().join("origin.git"), folder.path().join("state/git"));
        let names: Vec<String> = (0..FILES).map(|at| name(at * 37_199 % FILES, directories)).collect();
        import(&origin, "-1", |stream| {
            write!(stream, "blob\nmark :1\ndata 0\n\ncommit refs/heads/main\ncommitter A <a@test> 1 +0000\ndata 0\n")?;
            names.iter().try_for_each(|name| writeln!(stream, "M 100644 :1 {name}"))
        })?;
        std::fs::create_dir_all(&state)?;
        let repository = Store::open(&state, MEMORY.try_into()?, SystemTime::now())?.repository("pages")?;
        repository.fetch(&Remote::local(origin), SystemTime::now())?;
        let snapshot = repository.snapshot(repository.head().map(|head| head.id))?;
        let mut lane = Lane::new(OURS);
        // What comes first reads the trees.
        for round in 0..=rounds {
            let begun = Instant::now();
            for name in &names {
                let entry = snapshot.entry(name)?;
                ensure!(entry.name == name[name.rfind('/').map_or(0, |slash| slash + 1)..], "{name}");
            }
            if round > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
                lane.values.push(begun.elapsed().as_secs_f64() * 1e6 / FILES as f64);
            }
        }
        let place = if directories == 1 { "one directory".to_owned() } else { "1,000 directories".to_owned() };
        let title = format!("a path looked up among 100,000 files in {place}, warm");
        rows.push(Row { scenario: "git-lookup", title, unit: "µs", lanes: vec![lane], note: String::new() });
    }
    Ok(rows)
}

fn name(file: usize, directories: usize) -> String {
    if directories == 1 { format!("f{file:05}.html") } else { format!("d{:03}/f{file:05}.html", file % directories) }
}
