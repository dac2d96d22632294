//! What was read of the repositories and is likely to be asked for again: decoded trees, small blobs, sizes of large ones.
//! Bounded in bytes, the least recently used goes first. By object id, so nothing in it is ever stale.

use std::{
    collections::hash_map::RandomState,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use clru::{CLruCache, CLruCacheConfig, WeightScale};
use gix::ObjectId;

use crate::{disk::lock, tree::Tree};

/// Blobs up to here are remembered. Larger ones are streamed, and their answers remembered further out.
pub(crate) const SMALL: u64 = 128 * 1024;

/// What an entry costs beside its contents: the key twice, links, a place in a table.
const OVERHEAD: usize = 128;

/// One for all repositories of a store.
pub(crate) struct Cache(Mutex<CLruCache<ObjectId, Remembered, RandomState, Weight>>);

#[derive(Clone)]
pub(crate) enum Remembered {
    Tree(Arc<Tree>),
    Blob(Bytes),
    /// Of a blob that is not small, in bytes.
    Size(u64),
}

struct Weight;

impl Cache {
    /// About `bytes` of memory at most.
    pub(crate) fn new(bytes: NonZeroUsize) -> Self {
        Self(Mutex::new(CLruCache::with_config(CLruCacheConfig::new(bytes).with_scale(Weight))))
    }

    pub(crate) fn find(&self, id: &ObjectId) -> Option<Remembered> {
        lock(&self.0).get(id).cloned()
    }

    /// Everything.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn remember(&self, id: ObjectId, what: Remembered) {
        // What is larger than the whole cache is not kept.
        let _ = lock(&self.0).put_with_weight(id, what);
    }
}

impl WeightScale<ObjectId, Remembered> for Weight {
    fn weight(&self, _: &ObjectId, what: &Remembered) -> usize {
        OVERHEAD
            + match what {
                Remembered::Tree(tree) => tree.weight(),
                Remembered::Blob(bytes) => bytes.len(),
                Remembered::Size(_) => 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let id = |byte| ObjectId::try_from(&[byte; 20][..]).unwrap();
        let cache = Cache::new(NonZeroUsize::new(3 * (OVERHEAD + 110)).unwrap());
        let blob = || Remembered::Blob(Bytes::from_static(&[0; 100]));
        for byte in 0..3 {
            cache.remember(id(byte), blob());
        }
        assert!(cache.find(&id(0)).is_some());
        cache.remember(id(3), blob());
        let held: Vec<bool> = (0..4).map(|byte| cache.find(&id(byte)).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
        cache.remember(id(4), Remembered::Blob(Bytes::from(vec![0; 1000])));
        assert!(cache.find(&id(4)).is_none());
    }
}
