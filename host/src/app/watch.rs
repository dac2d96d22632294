//! `--watch`: a component whose file changed is swapped.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use atoll_runtime::{Change, Digest, Level};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{components::read, host::Host, running::Source};
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
            seen.insert(file, stamp);
            let path = path.clone();
            let Ok(Ok(bytes)) = spawn_blocking(move || read(&path)).await else { continue };
            let serving = running.slot.serving().filter(|serving| serving.digest() == Digest::of(&bytes));
            if let Some(serving) = serving {
                running.now_of(serving.digest());
                // In place of another that waits, if one does.
                running.slot.notify(vec![Change::Code(serving.inputs().code.clone())]).await;
                if running.slot.pardon() {
                    host.say(Level::Info, format!("{name}: its file is what serves again"));
                }
                continue;
            }
            // Why it fails, if it does, is in the log and in `ps` then.
            let _ = host.swap(name, bytes, Source::File).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
