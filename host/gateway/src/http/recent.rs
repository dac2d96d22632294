//! Hashes that were seen lately, in a table that never grows: a newer one takes the place of an older. One may be forgotten
//! early; none is ever made up, but by a hash that is another's whole.

use std::sync::atomic::{AtomicU64, Ordering};

const PLACES: usize = 4096;

pub(super) struct Recent(Box<[AtomicU64]>);

impl Default for Recent {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Recent {
    pub(super) fn insert(&self, hash: u64) {
        self.place(hash).store(hash, Ordering::Relaxed);
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.place(hash).load(Ordering::Relaxed) == hash
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.0[usize::try_from(hash % PLACES as u64).expect("below 4096")]
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACES, Recent};

    #[test]
    fn a_newer_one_takes_the_place_of_an_older() {
        let recent = Recent::default();
        recent.insert(7);
        assert!(recent.contains(7) && !recent.contains(7 + PLACES as u64) && !recent.contains(8));
        recent.insert(7 + PLACES as u64);
        assert!(!recent.contains(7) && recent.contains(7 + PLACES as u64));
    }
}
