//! A component of the manifest as it runs: its slot, its file, and what was put in the file's place.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use atoll_runtime::{Digest, Role, Slot};
use tokio::task::AbortHandle;

use super::{agents, host::Components};
use crate::manifest;

/// A component of the manifest, and what is known of it.
pub(super) struct Running {
    pub said: manifest::Component,
    pub slot: Arc<Slot>,
    /// Of the manifest's file when it was last read; none where it is no component.
    file: Mutex<Option<Digest>>,
    /// Of what was swapped into the slot last, in place of its file.
    swapped_in: Arc<Mutex<Option<Digest>>>,
    /// None where its file is no component, and nothing of it was proved.
    pub role: Option<Role>,
    waking: Arc<Waking>,
}

/// Wakes the slot while it is an agent's, until the component is gone.
struct Waking(AbortHandle);

impl Drop for Waking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The one that decides, if there is one.
pub(super) fn router(components: &Components) -> Option<&Arc<Running>> {
    components.values().find(|running| running.is_router())
}

impl Running {
    pub(super) fn new(said: manifest::Component, slot: Arc<Slot>, file: Option<Digest>, role: Option<Role>) -> Self {
        let waking = tokio::spawn(agents::wake(slot.clone(), SystemTime::now)).abort_handle();
        let (file, waking) = (Mutex::new(file), Arc::new(Waking(waking)));
        Self { said, slot, file, swapped_in: Arc::default(), role, waking }
    }

    pub(super) fn is_router(&self) -> bool {
        self.role == Some(Role::Router)
    }

    /// Whether both have the same slot.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }

    /// Another file for the same slot.
    pub(super) fn again(&self, said: manifest::Component, file: Option<Digest>, role: Option<Role>) -> Self {
        let (slot, swapped_in, waking) = (self.slot.clone(), self.swapped_in.clone(), self.waking.clone());
        Self { said, slot, file: Mutex::new(file), swapped_in, role, waking }
    }

    pub(super) fn file(&self) -> Option<Digest> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest's file is this one now.
    pub(super) fn now_of(&self, digest: Digest) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }

    /// This serves in its file's place.
    pub(super) fn swapped_in(&self, digest: Digest) {
        *self.by_hand() = Some(digest);
    }

    fn by_hand(&self) -> MutexGuard<'_, Option<Digest>> {
        self.swapped_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what serves is not what a restart would serve.
    pub(super) fn swapped(&self) -> bool {
        self.slot.serving().is_some_and(|serving| Some(serving.digest()) != self.file())
    }

    /// Whether its file, which is this one, is to serve: unless it does, or was replaced by hand and is as it was then.
    pub(super) fn lacks(&self, file: Digest) -> bool {
        let serves = self.slot.serving().map(|serving| serving.digest());
        let by_hand = serves.is_some() && *self.by_hand() == serves && self.file() == Some(file);
        serves != Some(file) && !by_hand
    }

    /// Whether nothing of it serves, or what serves is still unproved, and not because of anything that the manifest now says
    /// of it: of this table and this file it was so before.
    pub(super) fn fails_by_itself(&self, said: &manifest::Component, file: Digest) -> bool {
        self.said.hash == said.hash && self.file() == Some(file) && !self.is_proved()
    }

    /// Whether something of it serves that was proved by what the manifest said when it was last read.
    pub(super) fn is_proved(&self) -> bool {
        self.slot.serving().is_some() && !self.slot.is_unproved()
    }
}
