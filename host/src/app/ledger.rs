//! What was proved, written down before it serves, so that a kill loses none of it; synced to the disk a while after, since
//! a sync may take seconds. A restart begins with it. `proved` has an entry a component, the bytes
//! are kept by digest, each revision by a ref in the binding's repository.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use atoll_git::ObjectId;
use atoll_runtime::{Code, Digest, Generation, Ledger, Role, Upstream, Wasi};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{bindings::Bindings, state};
use crate::text::chain;

/// What is known of a component's last proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Of its bytes.
    pub digest: String,
    /// Of its table.
    pub table: String,
    /// What it is for, as an error names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// By binding of the manifest; empty for a branch without a commit.
    pub revisions: BTreeMap<String, String>,
    /// The identity of the remote that each came from, be it nothing, by binding, where that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, String>,
    /// Of a router: what it could name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
}

impl Entry {
    /// What it was for; which interfaces a service has only its bytes say.
    pub(super) fn role(&self) -> Option<Role> {
        let roles = [Role::Router, Role::Agent, Role::Service { wasi: Wasi::P3 }];
        roles.into_iter().find(|role| self.role.as_deref() == Some(&role.to_string()))
    }
}

/// What a router may name, as an entry has it.
pub(super) fn names(upstreams: &[Upstream]) -> Vec<String> {
    let kind = |upstream: &Upstream| if upstream.component { "component" } else { "url" };
    upstreams.iter().map(|upstream| format!("{} {}", kind(upstream), upstream.name)).collect()
}

pub(super) struct Proved {
    file: PathBuf,
    components: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Digests of components whose bytes are known to be here whole.
    whole: Mutex<HashSet<String>>,
    bindings: Arc<ArcSwap<Bindings>>,
    changed: Notify,
}

impl Proved {
    /// What a former run wrote; nothing where it can't be read, which `damaged` is told of, and is then proved again.
    pub(super) fn open(
        file: PathBuf,
        components: PathBuf,
        bindings: Arc<ArcSwap<Bindings>>,
        damaged: impl FnOnce(String),
    ) -> anyhow::Result<Self> {
        let of = |path: &Path| path.display().to_string();
        fs::create_dir_all(&components).with_context(|| of(&components))?;
        let entries = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error.to_string()),
        };
        let entries = entries.unwrap_or_else(|why| {
            damaged(format!("{}: what was proved before can't be read, and is proved again: {why}", of(&file)));
            BTreeMap::new()
        });
        let (entries, whole, changed) = (Mutex::new(entries), Mutex::default(), Notify::new());
        let proved = Self { file, components, entries, whole, bindings, changed };
        proved.prune(&proved.entries());
        Ok(proved)
    }

    pub(super) fn entry(&self, component: &str) -> Option<Entry> {
        self.entries().get(component).cloned()
    }

    /// The bytes with this digest, if they are here and whole.
    pub(super) fn bytes(&self, digest: &str) -> Option<Vec<u8>> {
        let digest = Digest::parse(digest)?;
        let bytes = fs::read(self.path(&digest.to_string())).ok()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.components.join(format!("{digest}.wasm"))
    }

    /// Lets go of bytes that no entry names.
    fn prune(&self, entries: &BTreeMap<String, Entry>) {
        let Ok(files) = fs::read_dir(&self.components) else { return };
        for file in files.flatten() {
            let path = file.path();
            let kept = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !entries.values().any(|entry| entry.digest == kept) {
                self.whole().remove(kept);
                let _ = fs::remove_file(path);
            }
        }
    }

    fn keep(&self, component: &str, generation: &Generation) -> Result<(), String> {
        let inputs = generation.inputs();
        let bindings = self.bindings.load();
        let (mut revisions, mut origins) = (BTreeMap::new(), BTreeMap::new());
        for (known, revision) in generation.revisions() {
            let Some(grant) = inputs.table.git.get(known) else { continue };
            let binding = bindings.iter().find(|(name, _)| ***name == *grant.binding).map(|(_, binding)| binding);
            let binding = binding.ok_or_else(|| format!("[git.{}] is no more", grant.binding))?;
            let id = match revision.as_str() {
                "" => None,
                hex => Some(ObjectId::from_hex(hex.as_bytes()).map_err(|error| error.to_string())?),
            };
            binding
                .repository()
                .keep(component, id)
                .map_err(|error| format!("{}: {}", grant.binding, chain(&error)))?;
            let origin = inputs.branches.get(known).map(|branch| branch.origin()).unwrap_or_default();
            if !origin.is_empty() {
                origins.insert(grant.binding.clone(), origin.to_owned());
            }
            revisions.insert(grant.binding.clone(), revision.clone());
        }
        let digest = generation.digest().to_string();
        // Held, so that nobody lets go of the bytes before an entry names them.
        let mut entries = self.entries();
        self.keep_bytes(&inputs.code).map_err(|error| error.to_string())?;
        let (table, upstreams) = (inputs.table.hash.to_string(), names(&inputs.upstreams));
        let role = Some(generation.role().to_string());
        let entry = Entry { digest, table, role, revisions, origins, upstreams };
        let before = entries.insert(component.to_owned(), entry.clone()).unwrap_or_default();
        self.write(&entries).map_err(|error| error.to_string())?;
        if before.digest != entry.digest {
            self.prune(&entries);
        }
        if before.revisions.keys().ne(entry.revisions.keys()) {
            self.release(component, |binding| entry.revisions.contains_key(binding));
        }
        Ok(())
    }

    /// Writes a component's bytes down, where they are not here whole.
    pub(super) fn keep_bytes(&self, code: &Code) -> io::Result<()> {
        let digest = code.digest().to_string();
        // One at a time: two components may be the same bytes.
        let mut whole = self.whole();
        if !whole.contains(&digest) {
            if self.bytes(&digest).is_none() {
                state::replace(&self.path(&digest), code.bytes(), true)?;
            }
            whole.insert(digest);
        }
        Ok(())
    }

    /// Forgets components that are no more.
    pub(super) fn retain(&self, is: impl Fn(&str) -> bool) {
        let mut entries = self.entries();
        let gone: Vec<String> = entries.keys().filter(|name| !is(name)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for component in &gone {
            entries.remove(component);
            self.release(component, |_| false);
        }
        // What could not be forgotten now is forgotten at the next start.
        let _ = self.write(&entries);
        self.prune(&entries);
    }

    /// Ends what is kept for a component where it reads no more.
    fn release(&self, component: &str, reads: impl Fn(&str) -> bool) {
        for (_, binding) in self.bindings.load().iter().filter(|(name, _)| !reads(name)) {
            // Where it can't be, it keeps a little too much.
            let _ = binding.repository().release(component);
        }
    }

    /// Returns when something was written that a power cut might lose.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes all that was written survive a power cut. Blocks.
    pub(super) fn settle(&self) -> io::Result<()> {
        for binding in self.bindings.load().values() {
            binding.repository().settle()?;
        }
        fs::File::open(&self.file)?.sync_all()?;
        fs::File::open(self.file.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn write(&self, entries: &BTreeMap<String, Entry>) -> io::Result<()> {
        state::replace(&self.file, &serde_json::to_vec_pretty(entries)?, false)?;
        self.changed.notify_one();
        Ok(())
    }

    fn whole(&self) -> MutexGuard<'_, HashSet<String>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Proved {
    fn proved(&self, component: &str, generation: &Generation) -> Result<(), String> {
        self.keep(component, generation)
    }
}
