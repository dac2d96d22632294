//! A place for a bounded number of bytes, by key: what is wanted again stays, and what comes once goes first, or isn't let
//! in where that would push out another. Looking something up takes one hash and no allocation.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use quick_cache::{
    Equivalent, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use smallvec::SmallVec;

use crate::http::recent::Recent;

/// What an entry costs beside its bytes: the maps' own.
const OVERHEAD: u64 = 256;
/// Locks at most; more than there are threads that serve.
const SHARDS: u64 = 8;
/// What a shard should hold at least: a few of the largest answers.
const SHARD: u64 = 8 << 20;
/// The usual weight of an entry, for the number of those that are remembered as gone.
const USUAL: u64 = 8 << 10;

pub(super) struct Shelf<V> {
    shards: Box<[Cache<Stored, Weighed<V>, Weights, BuildHasherDefault<Given>>]>,
    hasher: RandomState,
    /// What was not let in, once.
    declined: Recent,
}

struct Stored {
    hash: u64,
    /// Beside its entry, where it isn't long: of many answers, one place less to look at.
    key: SmallVec<[u8; 56]>,
}

struct Probe<'a> {
    hash: u64,
    key: &'a [u8],
}

#[derive(Clone)]
struct Weighed<V> {
    value: V,
    weight: u64,
}

impl<V: Clone> Shelf<V> {
    pub(super) fn new(bytes: u64) -> Self {
        let count = (bytes / SHARD).clamp(1, SHARDS);
        let entries = usize::try_from(bytes / count / USUAL).unwrap_or(usize::MAX).max(64);
        let shard = |_| {
            let options = OptionsBuilder::new()
                .shards(1)
                .weight_capacity(bytes / count)
                .estimated_items_capacity(entries)
                .build()
                .expect("both capacities are given");
            Cache::with_options(options, Weights, BuildHasherDefault::default(), DefaultLifecycle::default())
        };
        Self { shards: (0..count).map(shard).collect(), hasher: RandomState::new(), declined: Recent::default() }
    }

    pub(super) fn resize(&self, bytes: u64) {
        for shard in &self.shards {
            shard.set_capacity(bytes / self.shards.len() as u64);
        }
    }

    /// Bytes that are held.
    pub(super) fn weight(&self) -> u64 {
        self.shards.iter().map(Cache::weight).sum()
    }

    /// What is kept under a key; counts as a use of it.
    pub(super) fn get(&self, key: &[u8]) -> Option<V> {
        let hash = self.hash(key);
        self.shard(hash).get(&Probe { hash, key }).map(|weighed| weighed.value)
    }

    /// The same without being a use.
    pub(super) fn peek(&self, key: &[u8]) -> Option<V> {
        let hash = self.hash(key);
        self.shard(hash).peek(&Probe { hash, key }).map(|weighed| weighed.value)
    }

    /// Whether something of this weight is let in: there is room, or it was turned away before.
    pub(super) fn admits(&self, key: &[u8], weight: usize) -> bool {
        let hash = self.hash(key);
        let shard = self.shard(hash);
        // Beyond this share, quick_cache evicts.
        let room = shard.capacity() / 100 * 97;
        if shard.weight() + total(key, weight) <= room {
            return true;
        }
        let again = self.declined.contains(hash);
        if !again {
            self.declined.insert(hash);
        }
        again
    }

    pub(super) fn insert(&self, key: &[u8], value: V, weight: usize) {
        let hash = self.hash(key);
        self.shard(hash)
            .insert(Stored { hash, key: SmallVec::from_slice(key) }, Weighed { value, weight: total(key, weight) });
    }

    /// Puts a value in the place of the one that is there.
    pub(super) fn replace(&self, key: &[u8], value: V, weight: usize) {
        let hash = self.hash(key);
        let stored = Stored { hash, key: SmallVec::from_slice(key) };
        // Where it is gone meanwhile, it stays so.
        let _ = self.shard(hash).replace(stored, Weighed { value, weight: total(key, weight) }, true);
    }

    /// Keeps what has such a key; looks at all there is.
    pub(super) fn retain(&self, keep: impl Fn(&[u8]) -> bool) {
        for shard in &self.shards {
            shard.retain(|stored, _| keep(&stored.key));
        }
    }

    /// A number for a key that nobody outside can guess.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Cache<Stored, Weighed<V>, Weights, BuildHasherDefault<Given>> {
        // The map inside uses the lower bits, and the highest seven.
        let at = (hash >> 32) % self.shards.len() as u64;
        &self.shards[usize::try_from(at).expect("below eight")]
    }
}

fn total(key: &[u8], weight: usize) -> u64 {
    OVERHEAD + key.len() as u64 + weight as u64
}

#[derive(Clone)]
struct Weights;

impl<V> Weighter<Stored, Weighed<V>> for Weights {
    fn weight(&self, _: &Stored, weighed: &Weighed<V>) -> u64 {
        weighed.weight
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Probe<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Stored> for Probe<'_> {
    fn equivalent(&self, stored: &Stored) -> bool {
        self.hash == stored.hash && *self.key == *stored.key
    }
}

/// Passes a hash on that was made before.
#[derive(Default)]
struct Given(u64);

impl Hasher for Given {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys bring their hash");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Shelf;

    fn put(shelf: &Shelf<usize>, key: &str, weight: usize) -> bool {
        let admitted = shelf.admits(key.as_bytes(), weight);
        if admitted {
            shelf.insert(key.as_bytes(), weight, weight);
        }
        admitted
    }

    #[test]
    fn what_comes_once_pushes_nobody_out() {
        let bytes = 32 << 20;
        let shelf = Shelf::new(bytes);
        assert_eq!(shelf.shards.len(), 4);
        let kept: Vec<String> = (0..3000).map(|at| format!("kept {at}")).collect();
        for key in &kept {
            assert!(put(&shelf, key, 8 << 10));
            shelf.get(key.as_bytes()).unwrap();
        }
        let mut declined = 0;
        for at in 0..4000 {
            declined += u32::from(!put(&shelf, &format!("once {at}"), 8 << 10));
            assert!(shelf.weight() <= bytes);
        }
        assert!(declined > 3000, "{declined}");
        assert_eq!(kept.iter().filter(|key| shelf.get(key.as_bytes()).is_none()).count(), 0);
        assert!(!put(&shelf, "twice", 8 << 10) && put(&shelf, "twice", 8 << 10), "wanted again, it is let in");
        assert_eq!(shelf.get(b"twice"), Some(8 << 10));
        assert!(shelf.weight() <= bytes);
    }

    #[test]
    fn a_bound_that_moves() {
        let shelf = Shelf::new(0);
        assert!(!put(&shelf, "a", 1) && put(&shelf, "a", 1));
        assert_eq!(shelf.get(b"a"), None);
        shelf.resize(1 << 20);
        assert!(put(&shelf, "a", 1000) && put(&shelf, "b", 2000));
        assert_eq!((shelf.peek(b"a"), shelf.weight()), (Some(1000), 3514));
        shelf.replace(b"a", 7, 5000);
        shelf.replace(b"c", 7, 5000);
        assert_eq!((shelf.get(b"a"), shelf.get(b"c"), shelf.weight()), (Some(7), None, 7514));
        shelf.retain(|key| key == b"b");
        assert_eq!((shelf.get(b"a"), shelf.get(b"b"), shelf.weight()), (None, Some(2000), 2257));
        shelf.resize(0);
        assert_eq!(shelf.weight(), 0);
    }
}
