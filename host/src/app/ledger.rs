//! What was proved, written down before it serves: a restart begins with it. `proved` has an entry a component, the bytes
//! are kept by digest, each revision by a ref in the binding's repository.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use atoll_git::ObjectId;
use atoll_runtime::{Digest, Generation, Ledger};
use serde::{Deserialize, Serialize};

use super::{bindings::Bindings, state};

/// What is known of a component's last proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Of its bytes.
    pub digest: String,
    /// Of its table.
    pub table: String,
    /// By binding of the manifest; empty for a branch without a commit.
    pub revisions: BTreeMap<String, String>,
}

pub(super) struct Proved {
    file: PathBuf,
    components: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
    bindings: Arc<ArcSwap<Bindings>>,
}

impl Proved {
    /// What a former run wrote; nothing where it can't be read, which is then proved again.
    pub(super) fn open(file: PathBuf, components: PathBuf, bindings: Arc<ArcSwap<Bindings>>) -> io::Result<Self> {
        fs::create_dir_all(&components)?;
        let entries = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let proved = Self { file, components, entries: Mutex::new(entries), bindings };
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

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
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
            let kept = path.file_stem().and_then(|stem| stem.to_str());
            if !kept.is_some_and(|kept| entries.values().any(|entry| entry.digest == kept)) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn keep(&self, component: &str, generation: &Generation) -> Result<(), String> {
        let inputs = generation.inputs();
        let bindings = self.bindings.load();
        let mut revisions = BTreeMap::new();
        for (known, revision) in generation.revisions() {
            let Some(grant) = inputs.table.git.get(known) else { continue };
            let binding = bindings.iter().find(|(name, _)| ***name == *grant.binding).map(|(_, binding)| binding);
            let Some(binding) = binding else { continue };
            let id = match revision.as_str() {
                "" => None,
                hex => Some(ObjectId::from_hex(hex.as_bytes()).map_err(|error| error.to_string())?),
            };
            binding.repository().keep(component, id).map_err(|error| format!("{}: {error}", grant.binding))?;
            revisions.insert(grant.binding.clone(), revision.clone());
        }
        let digest = generation.digest().to_string();
        let path = self.path(&digest);
        // One at a time: two components may be the same bytes.
        let mut entries = self.entries();
        if !path.exists() {
            state::replace(&path, inputs.code.bytes()).map_err(|error| error.to_string())?;
        }
        let entry = Entry { digest, table: inputs.table.hash.to_string(), revisions };
        entries.insert(component.to_owned(), entry);
        write(&self.file, &entries).map_err(|error| error.to_string())?;
        self.prune(&entries);
        Ok(())
    }
}

impl Ledger for Proved {
    fn proved(&self, component: &str, generation: &Generation) -> Result<(), String> {
        self.keep(component, generation)
    }
}

fn write(file: &Path, entries: &BTreeMap<String, Entry>) -> io::Result<()> {
    state::replace(file, &serde_json::to_vec_pretty(entries)?)
}
