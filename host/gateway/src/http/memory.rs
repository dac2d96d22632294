//! Remembered answers of all components, bounded in bytes. The generation is in every key: when it changes, what was
//! remembered of it can't be reached. What is asked for once does not evict another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use atoll_semantics::{no_vary_search::SearchRule, vary::MOST_NAMES};
use http::HeaderName;

use crate::http::{
    access::Upstream,
    key::{Handed, Key},
    recent::Recent,
    representation::{Representation, Twins},
    shelf::Shelf,
};

/// Longer keys are nobody's second request.
const LONGEST_KEY: usize = 8 * 1024;
/// Targets whose answers an unsafe request has made stale, by hash: two that share a place are stale together.
const TOUCHED: usize = 4096;

/// One remembered answer.
pub(super) struct Remembered {
    pub(super) representation: Representation,
    pub(super) fresh: Fresh,
    /// Who gave it, for the log.
    pub(super) upstream: Upstream,
    /// Which part of the query it depends on, by its own word.
    search: Option<Arc<SearchRule>>,
}

/// How long an answer is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Until its generation is none.
    WhileGeneration,
    /// By RFC 9111: the instance had used more than its generation.
    For { since: Instant, age: Duration, lifetime: Duration },
}

impl Fresh {
    pub(super) fn lasts(self, now: Instant) -> bool {
        match self {
            Self::WhileGeneration => true,
            Self::For { lifetime, .. } => self.age(|| now).is_some_and(|age| age < lifetime),
        }
    }

    /// How old it is, where that matters.
    pub(super) fn age(self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        match self {
            Self::WhileGeneration => None,
            Self::For { since, age, .. } => Some(age + now().saturating_duration_since(since)),
        }
    }
}

impl Remembered {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.representation.weight()
    }
}

/// What was found for a component's requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    /// The newest generation that was asked.
    generation: AtomicU64,
}

impl Tally {
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct Memory {
    shelf: Shelf<Held>,
    /// Of which each is weighed as if there were no other.
    pub(super) twins: Twins,
    /// What was asked for, and was not to be remembered.
    unremembered: Recent,
    touched: Box<[AtomicU64]>,
    touches: AtomicU64,
    epochs: AtomicU64,
    tallies: Mutex<HashMap<Arc<str>, Arc<Tally>>>,
}

#[derive(Clone)]
enum Held {
    Search(Arc<SearchRule>),
    Names {
        epoch: u64,
        names: Arc<[HeaderName]>,
    },
    /// With the touches before it was asked for.
    Answer {
        answer: Arc<Remembered>,
        touches: u64,
    },
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            shelf: Shelf::new(bytes),
            twins: Twins::default(),
            unremembered: Recent::default(),
            touched: (0..TOUCHED).map(|_| AtomicU64::new(0)).collect(),
            touches: AtomicU64::new(1),
            epochs: AtomicU64::new(0),
            tallies: Mutex::default(),
        }
    }

    pub(super) fn resize(&self, bytes: u64) {
        self.shelf.resize(bytes);
    }

    /// Bytes that are held.
    pub(super) fn weight(&self) -> u64 {
        self.shelf.weight()
    }

    /// The counters of a component, by its name.
    pub(super) fn tally(&self, component: &Arc<str>) -> Arc<Tally> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.entry(component.clone()).or_default().clone()
    }

    /// The answer to a request, where there is one and it is fresh.
    pub(super) fn recall(&self, handed: &Handed<'_>, now: impl FnOnce() -> Instant) -> Option<Arc<Remembered>> {
        let (key, rule) = self.key(handed);
        let held = match self.shelf.get(key.bytes())? {
            Held::Names { epoch, names } => {
                self.shelf.get(key.clone().with_fields(epoch, &names, handed.fields).bytes())?
            }
            held => held,
        };
        let Held::Answer { answer, touches, .. } = held else { return None };
        if handed.query.is_some() && answer.search != rule {
            // Another answer's rule led here: this one's own has to come to the same.
            let own = Key::of(handed).with_query(handed.query, answer.search.as_deref());
            if own.bytes() != key.bytes() {
                return None;
            }
        }
        if answer.fresh != Fresh::WhileGeneration {
            let stale = !answer.fresh.lasts(now()) || self.touched(handed).load(Ordering::Acquire) > touches;
            if stale {
                return None;
            }
        }
        Some(answer)
    }

    /// The key of a request's answers as far as is known, and the rule that it is made by.
    pub(super) fn key(&self, handed: &Handed<'_>) -> (Key, Option<Arc<SearchRule>>) {
        let path = Key::of(handed);
        // Without a query there is nothing to leave out: one look less.
        let rule = handed.query.and_then(|_| match self.shelf.get(path.bytes()) {
            Some(Held::Search(rule)) => Some(rule),
            _ => None,
        });
        (path.with_query(handed.query, rule.as_deref()), rule)
    }

    /// Keeps an answer, where there is room or it is worth somebody else's; gives it back either way.
    pub(super) fn remember(
        &self,
        handed: &Handed<'_>,
        varies: &[HeaderName],
        mut representation: Representation,
        fresh: Fresh,
        upstream: Upstream,
        touches: u64,
    ) -> (Arc<Remembered>, bool) {
        representation.join(&self.twins);
        let search = SearchRule::of(representation.head()).map(Arc::new);
        let path = Key::of(handed);
        let search_key = search.is_some().then(|| path.clone());
        let mut key = path.with_query(handed.query, search.as_deref());
        let answer = Arc::new(Remembered { representation, fresh, upstream, search });
        let weight = answer.weight();
        if key.bytes().len() > LONGEST_KEY || !self.shelf.admits(key.bytes(), weight) {
            return (answer, false);
        }
        if let (Some(key), Some(rule)) = (search_key, &answer.search) {
            self.shelf.insert(key.bytes(), Held::Search(rule.clone()), rule.weight());
        }
        if let Some((epoch, names)) = self.names(&key, varies) {
            key = key.with_fields(epoch, &names, handed.fields);
        }
        self.shelf.insert(key.bytes(), Held::Answer { answer: answer.clone(), touches }, weight);
        (answer, true)
    }

    /// Weighs an answer again, of which an encoded form was made.
    pub(super) fn reweigh(&self, handed: &Handed<'_>, answer: &Arc<Remembered>) {
        let mut key = Key::of(handed).with_query(handed.query, answer.search.as_deref());
        let mut held = self.shelf.peek(key.bytes());
        if let Some(Held::Names { epoch, names }) = held {
            key = key.with_fields(epoch, &names, handed.fields);
            held = self.shelf.peek(key.bytes());
        }
        if let Some(Held::Answer { answer: held, touches, .. }) = held
            && Arc::ptr_eq(&held, answer)
        {
            self.shelf.replace(key.bytes(), Held::Answer { answer: held, touches }, answer.weight());
        }
    }

    /// Whether an answer to this was lately not to be remembered, so that nobody should wait for another's.
    pub(super) fn is_unremembered(&self, key: &[u8]) -> bool {
        self.unremembered.contains(self.shelf.hash(key))
    }

    pub(super) fn note_unremembered(&self, key: &[u8]) {
        self.unremembered.insert(self.shelf.hash(key));
    }

    /// The number to remember an answer with: of the changes before its guest was asked.
    pub(super) fn touches(&self) -> u64 {
        self.touches.load(Ordering::Acquire)
    }

    /// An unsafe request to this target did not fail: what RFC 9111 alone keeps fresh is stale (section 4.4). What the
    /// generation keeps fresh can't have changed.
    pub(super) fn touch(&self, handed: &Handed<'_>) {
        let touch = self.touches.fetch_add(1, Ordering::AcqRel) + 1;
        self.touched(handed).fetch_max(touch, Ordering::AcqRel);
    }

    /// Notes which generation of a component is asked; true where it is newer, so that what older ones left may go.
    pub(super) fn advances(tally: &Tally, generation: u64) -> bool {
        tally.generation.load(Ordering::Relaxed) < generation
            && tally.generation.fetch_max(generation, Ordering::Relaxed) < generation
    }

    /// Lets go what of these components' older generations is held. Walks through all that is remembered.
    pub(super) fn sweep(&self) {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let current: Vec<u64> = tallies.values().map(|tally| tally.generation.load(Ordering::Relaxed)).collect();
        drop(tallies);
        self.shelf.retain(|key| current.contains(&Key::generation(key)));
    }

    fn touched(&self, handed: &Handed<'_>) -> &AtomicU64 {
        let at = self.shelf.hash(Key::of_target(handed).bytes()) % TOUCHED as u64;
        &self.touched[usize::try_from(at).expect("below 4096")]
    }

    /// By which names the answers under a key are told apart: those known before, and these.
    fn names(&self, key: &Key, varies: &[HeaderName]) -> Option<(u64, Arc<[HeaderName]>)> {
        let known = match self.shelf.peek(key.bytes()) {
            Some(Held::Names { epoch, names }) => Some((epoch, names)),
            _ => None,
        };
        if let Some((epoch, names)) = &known
            && varies.iter().all(|name| names.contains(name))
        {
            return Some((*epoch, names.clone()));
        }
        if varies.is_empty() {
            return None;
        }
        let mut names: Vec<HeaderName> = known.map(|(_, names)| names.to_vec()).unwrap_or_default();
        names.extend(varies.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        if names.len() > 2 * MOST_NAMES {
            // Answers that agree on nothing: begin anew, rather than ask each request about all of it.
            names = varies.to_vec();
        }
        let (epoch, names) = (self.epochs.fetch_add(1, Ordering::Relaxed), Arc::<[HeaderName]>::from(names));
        let weight = names.iter().map(|name| name.as_str().len() + size_of::<HeaderName>()).sum();
        self.shelf.insert(key.bytes(), Held::Names { epoch, names: names.clone() }, weight);
        Some((epoch, names))
    }
}

#[cfg(test)]
mod tests;
