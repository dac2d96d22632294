//! Remembered decisions: a trie whose nodes are the questions that a router asked and whose branches are the answers it
//! got. Nobody declares what a decision depends on, so nobody can declare it wrong. Names and paths come from strangers:
//! bounded in bytes, the least recently used out first, keys hashed with a random key.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderName;
use smallvec::SmallVec;

use crate::decision::{Decision, Head, under};

/// One question of `wit/routing.wit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Scheme,
    Authority,
    Method,
    Path,
    Under(Box<str>),
    Query,
    Field(HeaderName),
    Client,
}

/// The answer, as bytes: two answers are the same where these are. Most names have room in it, so that a look at one of many
/// is a look at one place less.
pub(crate) type Answer = SmallVec<[u8; 24]>;

/// What a decision was made from.
pub(crate) type Path = Vec<(Question, Answer)>;

impl Question {
    /// Appends the answer for `head`.
    pub(crate) fn answer(&self, head: &Head<'_>, answer: &mut Vec<u8>) {
        match self {
            Self::Scheme => answer.extend_from_slice(head.scheme.as_bytes()),
            Self::Authority => answer.extend_from_slice(head.authority.as_bytes()),
            Self::Method => answer.extend_from_slice(head.method.as_str().as_bytes()),
            Self::Path => answer.extend_from_slice(head.path.as_bytes()),
            Self::Under(prefix) => answer.push(under(head.path, prefix).into()),
            // No query is not an empty one.
            Self::Query => {
                if let Some(query) = head.query {
                    answer.push(b'?');
                    answer.extend_from_slice(query.as_bytes());
                }
            }
            // Each value with its length: two values are not one that looks like both.
            Self::Field(name) => {
                for value in head.fields.get_all(name) {
                    answer.extend_from_slice(&value.len().to_le_bytes());
                    answer.extend_from_slice(value.as_bytes());
                }
            }
            Self::Client => match head.client {
                IpAddr::V4(address) => answer.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => answer.extend_from_slice(&address.octets()),
            },
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Under(prefix) => prefix.len(),
            Self::Field(name) => name.as_str().len(),
            _ => 0,
        }
    }
}

/// The decisions of one generation of a router.
pub(crate) struct Decisions(Mutex<Trie>);

impl Decisions {
    /// At most `bytes` of memory, by our own reckoning.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Mutex::new(Trie { bytes, ..Trie::default() }))
    }

    /// The decision that was made from the answers that `head` gives.
    pub(crate) fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recall(head)
    }

    pub(crate) fn remember(&self, path: Path, decision: Arc<Decision>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remember(path, decision);
    }
}

/// A place in the arena.
type Index = u32;

#[derive(Default)]
struct Trie {
    /// Where the first question stands, once there is one.
    root: Option<Index>,
    nodes: Vec<Node>,
    free: Vec<Index>,
    /// The ends of the list of leaves, most recently used first.
    newest: Option<Index>,
    oldest: Option<Index>,
    used: usize,
    bytes: usize,
    scratch: Vec<u8>,
    /// Decisions that were remembered so far.
    turn: u64,
    /// The last few that were not the same: one that holds for many names is held once.
    shared: VecDeque<Arc<Decision>>,
}

struct Node {
    /// Where this node hangs, and under which answer; none for the root.
    parent: Option<(Index, Answer)>,
    weight: usize,
    kind: Kind,
}

enum Kind {
    Question(Box<(Question, HashMap<Answer, Index>)>),
    Leaf {
        decision: Arc<Decision>,
        newer: Option<Index>,
        older: Option<Index>,
        /// The turn in which it was used: in the same one, nothing has come that could push it out.
        used: u64,
    },
    Free,
}

/// What a node costs beside its words: itself, its entry in a map, its share of the arena.
const NODE: usize = size_of::<Node>() + 96;

/// How many decisions are shared with those to come, and the most bytes that one may take.
const SHARED: usize = 16;
const SMALL: usize = 1024;

impl Trie {
    fn recall(&mut self, head: &Head<'_>) -> Option<Arc<Decision>> {
        let mut at = self.root?;
        loop {
            match &self.nodes[at as usize].kind {
                Kind::Question(asked) => {
                    let (question, answers) = &**asked;
                    self.scratch.clear();
                    question.answer(head, &mut self.scratch);
                    at = *answers.get(self.scratch.as_slice())?;
                }
                Kind::Leaf { decision, used, .. } => {
                    let decision = decision.clone();
                    if *used != self.turn {
                        self.unlink(at);
                        self.link(at);
                    }
                    return Some(decision);
                }
                Kind::Free => return None,
            }
        }
    }

    fn remember(&mut self, path: Path, decision: Arc<Decision>) {
        let weight = |(question, answer): &(Question, Answer)| NODE + question.weight() + 2 * answer.len();
        let leaf_weight = NODE + decision.weight();
        // One decision must not push out all others.
        if path.iter().map(weight).sum::<usize>() + leaf_weight > self.bytes / 8 {
            return;
        }
        let mut parent = None;
        for (question, answer) in path {
            let weight = NODE + question.weight() + 2 * answer.len();
            let at = if let Some(at) = self.at(parent.as_ref()) {
                at
            } else {
                let kind = Kind::Question(Box::new((question.clone(), HashMap::new())));
                self.insert(parent.take(), weight, kind)
            };
            match &self.nodes[at as usize].kind {
                Kind::Question(asked) if asked.0 == question => parent = Some((at, answer)),
                // A guest that asks differently after the same answers: nothing that it says is worth keeping.
                _ => return,
            }
        }
        if self.at(parent.as_ref()).is_none() {
            self.turn += 1;
            let decision = self.share(decision);
            let leaf = self.insert(parent, leaf_weight, Kind::Leaf { decision, newer: None, older: None, used: 0 });
            self.link(leaf);
        }
        while self.used > self.bytes {
            let Some(oldest) = self.oldest else { return };
            self.unlink(oldest);
            self.remove(oldest);
        }
    }

    fn share(&mut self, decision: Arc<Decision>) -> Arc<Decision> {
        if let Some(known) = self.shared.iter().find(|known| **known == decision) {
            return known.clone();
        }
        // One that is large would be held beyond its bound.
        if decision.weight() <= SMALL {
            self.shared.truncate(SHARED - 1);
            self.shared.push_front(decision.clone());
        }
        decision
    }

    fn at(&self, parent: Option<&(Index, Answer)>) -> Option<Index> {
        let Some((parent, answer)) = parent else { return self.root };
        match &self.nodes[*parent as usize].kind {
            Kind::Question(asked) => asked.1.get(answer).copied(),
            Kind::Leaf { .. } | Kind::Free => None,
        }
    }

    fn insert(&mut self, parent: Option<(Index, Answer)>, weight: usize, kind: Kind) -> Index {
        let node = Node { parent: parent.clone(), weight, kind };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            at
        } else {
            self.nodes.push(node);
            Index::try_from(self.nodes.len() - 1).expect("their bytes are bounded")
        };
        match parent {
            None => self.root = Some(at),
            Some((parent, answer)) => {
                if let Kind::Question(asked) = &mut self.nodes[parent as usize].kind {
                    asked.1.insert(answer, at);
                }
            }
        }
        self.used += weight;
        at
    }

    /// Takes a node out, and every question above it that this leaves without an answer.
    fn remove(&mut self, mut at: Index) {
        loop {
            let node =
                std::mem::replace(&mut self.nodes[at as usize], Node { parent: None, weight: 0, kind: Kind::Free });
            self.used -= node.weight;
            self.free.push(at);
            let Some((parent, answer)) = node.parent else {
                self.root = None;
                return;
            };
            let Kind::Question(asked) = &mut self.nodes[parent as usize].kind else { return };
            asked.1.remove(&answer);
            if !asked.1.is_empty() {
                return;
            }
            at = parent;
        }
    }

    fn link(&mut self, leaf: Index) {
        let next = self.newest.replace(leaf);
        if let Kind::Leaf { newer, older, used, .. } = &mut self.nodes[leaf as usize].kind {
            (*newer, *older, *used) = (None, next, self.turn);
        }
        match next {
            Some(next) => {
                if let Kind::Leaf { newer, .. } = &mut self.nodes[next as usize].kind {
                    *newer = Some(leaf);
                }
            }
            None => self.oldest = Some(leaf),
        }
    }

    fn unlink(&mut self, leaf: Index) {
        let Kind::Leaf { newer, older, .. } = self.nodes[leaf as usize].kind else { return };
        match newer {
            Some(at) => {
                if let Kind::Leaf { older: below, .. } = &mut self.nodes[at as usize].kind {
                    *below = older;
                }
            }
            None => self.newest = older,
        }
        match older {
            Some(at) => {
                if let Kind::Leaf { newer: above, .. } = &mut self.nodes[at as usize].kind {
                    *above = newer;
                }
            }
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, StatusCode};

    use super::*;

    fn head<'a>(authority: &'a str, path: &'a str, fields: &'a HeaderMap) -> Head<'a> {
        Head {
            scheme: "https",
            authority,
            method: &Method::GET,
            path,
            query: None,
            fields,
            client: IpAddr::from([127, 0, 0, 1]),
        }
    }

    fn path(head: &Head<'_>, questions: &[Question]) -> Path {
        let answer = |question: &Question| {
            let mut answer = Vec::new();
            question.answer(head, &mut answer);
            (question.clone(), answer.into())
        };
        questions.iter().map(answer).collect()
    }

    fn refuse(reason: &str) -> Arc<Decision> {
        Arc::new(Decision::Refuse { status: StatusCode::FORBIDDEN, reason: reason.into() })
    }

    #[test]
    fn a_path_never_seen_has_the_decision_of_its_prefix() {
        let decisions = Decisions::new(1 << 20);
        let none = HeaderMap::new();
        let questions = [Question::Authority, Question::Under("/api".into())];
        let (seen, unseen, elsewhere) =
            (head("a", "/api/x", &none), head("a", "/api/y/z", &none), head("a", "/", &none));
        decisions.remember(path(&seen, &questions), refuse("api"));
        assert_eq!(decisions.recall(&unseen), Some(refuse("api")));
        assert_eq!(decisions.recall(&elsewhere), None);
        assert_eq!(decisions.recall(&head("b", "/api/x", &none)), None);
    }

    #[test]
    fn answers_that_look_alike_are_told_apart() {
        let decisions = Decisions::new(1 << 20);
        let name = HeaderName::from_static("x");
        let questions = [Question::Field(name.clone())];
        let fields = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(name.clone(), http::HeaderValue::from_static(value));
            }
            fields
        };
        let all = [fields(&[]), fields(&[""]), fields(&["ab"]), fields(&["a", "b"]), fields(&["b", "a"])];
        for (at, fields) in all.iter().enumerate() {
            decisions.remember(path(&head("a", "/", fields), &questions), refuse(&at.to_string()));
        }
        for (at, fields) in all.iter().enumerate() {
            assert_eq!(decisions.recall(&head("a", "/", fields)), Some(refuse(&at.to_string())));
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let decisions = Decisions::new(100 * NODE);
        let none = HeaderMap::new();
        let questions = [Question::Authority];
        decisions.remember(path(&head("kept", "/", &none), &questions), refuse("kept"));
        for at in 0..10_000 {
            let name = format!("n{at}");
            decisions.remember(path(&head(&name, "/", &none), &questions), refuse(""));
            assert!(decisions.recall(&head("kept", "/", &none)).is_some(), "after {at}");
        }
        assert_eq!(decisions.recall(&head("n0", "/", &none)), None);
        assert_eq!(decisions.recall(&head("n9999", "/", &none)), Some(refuse("")));
        let trie = decisions.0.lock().expect("no other thread");
        assert!(trie.used <= trie.bytes && trie.nodes.len() <= 101, "{} nodes", trie.nodes.len());
    }

    #[test]
    fn the_same_decision_for_many_names_is_held_once() {
        let decisions = Decisions::new(1 << 20);
        let none = HeaderMap::new();
        let questions = [Question::Authority];
        let recall = |name: &str| decisions.recall(&head(name, "/", &none)).unwrap();
        for (name, reason) in [("a", "x"), ("b", "y"), ("c", "x")] {
            decisions.remember(path(&head(name, "/", &none), &questions), refuse(reason));
        }
        assert!(Arc::ptr_eq(&recall("a"), &recall("c")));
        assert_eq!((recall("a"), recall("b")), (refuse("x"), refuse("y")));
        let large = "z".repeat(SMALL);
        for at in 0..2 * SHARED {
            let name = format!("n{at}");
            decisions.remember(path(&head(&name, "/", &none), &questions), refuse(&name));
            decisions.remember(path(&head(&format!("l{at}"), "/", &none), &questions), refuse(&large));
        }
        let trie = decisions.0.lock().expect("no other thread");
        assert_eq!(trie.shared.len(), SHARED);
        assert!(trie.shared.iter().all(|decision| decision.weight() <= SMALL));
    }

    #[test]
    fn a_decision_without_a_question_holds_for_all() {
        let decisions = Decisions::new(1 << 20);
        let none = HeaderMap::new();
        decisions.remember(Vec::new(), refuse("all"));
        assert_eq!(decisions.recall(&head("any", "/thing", &none)), Some(refuse("all")));
    }
}
