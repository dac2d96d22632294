//! `--watch`: a component whose file changed is swapped.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use atoll_runtime::Digest;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{components::read, host::Host};
use crate::manifest::Name;

/// A few files are looked at this often; a compiler takes longer.
const LOOK: Duration = Duration::from_millis(200);

/// Swaps until `stop`. A file is taken when it has not changed between two looks: a linker writes in pieces.
pub(super) async fn components(host: Arc<Host>, stop: CancellationToken) {
    // Several components may be of one file.
    let mut seen: BTreeMap<(Name, PathBuf), Option<(SystemTime, u64)>> = BTreeMap::new();
    let mut changing: BTreeMap<(Name, PathBuf), Option<(SystemTime, u64)>> = BTreeMap::new();
    loop {
        let components = host.components.load_full();
        for (name, running) in components.iter() {
            let path = &running.said.path;
            let stamp = std::fs::metadata(path).ok().and_then(|file| Some((file.modified().ok()?, file.len())));
            let file = (name.clone(), path.clone());
            let Some(before) = seen.get(&file) else {
                // It may have been replaced since it was read.
                let (path, read_as) = (path.clone(), running.file());
                let same = spawn_blocking(move || read(&path).is_ok_and(|bytes| Some(Digest::of(&bytes)) == read_as));
                seen.insert(file, if same.await.unwrap_or(true) { stamp } else { None });
                continue;
            };
            if *before == stamp || stamp.is_none() {
                continue;
            }
            if changing.insert(file.clone(), stamp) != Some(stamp) {
                continue;
            }
            changing.remove(&file);
            seen.insert(file.clone(), stamp);
            let (host, (name, path)) = (host.clone(), file);
            // Beside the others: a proof may be slow.
            tokio::spawn(async move { host.swap_file(&name, &path).await });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
