//! `--watch`: a component whose file changed is swapped.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use atoll_runtime::{Digest, Level};
use tokio_util::sync::CancellationToken;

use super::host::Host;

/// A few files are looked at this often; a compiler takes longer.
const LOOK: Duration = Duration::from_millis(200);

/// Swaps until `stop`. A file is taken when it has not changed between two looks: a linker writes in pieces.
pub(super) async fn components(host: Arc<Host>, stop: CancellationToken) {
    let mut seen: BTreeMap<PathBuf, Option<(SystemTime, u64)>> = BTreeMap::new();
    let mut changing: BTreeMap<PathBuf, Option<(SystemTime, u64)>> = BTreeMap::new();
    loop {
        let components = host.components.load_full();
        for (name, running) in components.iter() {
            let path = &running.said.path;
            let stamp = std::fs::metadata(path).ok().and_then(|file| Some((file.modified().ok()?, file.len())));
            let Some(before) = seen.get(path) else {
                seen.insert(path.clone(), stamp);
                continue;
            };
            if *before == stamp || stamp.is_none() {
                continue;
            }
            if changing.insert(path.clone(), stamp) != Some(stamp) {
                continue;
            }
            changing.remove(path);
            seen.insert(path.clone(), stamp);
            let Ok(bytes) = tokio::fs::read(path).await else { continue };
            if running.slot.serving().is_some_and(|serving| serving.digest() == Digest::of(&bytes)) {
                continue;
            }
            if let Err(error) = host.swap(name, bytes).await {
                host.about(name, Level::Error, format!("{} was not swapped in: {error:#}", path.display()));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
