//! Changes that wait to be proved, and who waits for them.

use crate::{Change, Disproof, Draft, Table, slot::Reply};

#[derive(Default)]
pub(crate) struct Queue {
    /// The newest last.
    waiting: Vec<Waiting>,
    next_number: u64,
    /// By the numbers of the changes that they wait for.
    replies: Vec<(Vec<u64>, Reply)>,
}

struct Waiting {
    change: Change,
    number: u64,
    /// Given up where it does not pass.
    once: bool,
}

impl Queue {
    /// It waits from now on, in place of an earlier one of the same thing; but what is to be tried `once` leaves one that
    /// waits for better days.
    pub(crate) fn push(&mut self, change: Change, once: bool) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let replaced = self.numbers_of(|waiting| change.replaces(&waiting.change) && (waiting.once || !once));
        self.remove(&replaced);
        self.answer(|numbers| {
            let overtaken = numbers.iter().any(|number| replaced.contains(number));
            overtaken.then(|| Err(Disproof::of("overtaken by a newer change", true)))
        });
        self.waiting.push(Waiting { change, number, once });
        number
    }

    pub(crate) fn answer_when(&mut self, numbers: Vec<u64>, reply: Reply) {
        self.replies.push((numbers, reply));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Of all that waits, the newest last.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.numbers_of(|_| true)
    }

    /// Whether something waits that would take the place of this.
    pub(crate) fn has_newer(&self, change: &Change) -> bool {
        self.waiting.iter().any(|waiting| waiting.change.replaces(change))
    }

    /// Those of these that are tried once.
    pub(crate) fn tried(&self, numbers: &[u64]) -> Vec<u64> {
        self.numbers_of(|waiting| waiting.once && numbers.contains(&waiting.number))
    }

    /// Of those that any of `changes` would take the place of.
    pub(crate) fn replaced_by(&self, changes: &[Change]) -> Vec<u64> {
        self.numbers_of(|waiting| changes.iter().any(|change| change.replaces(&waiting.change)))
    }

    /// It, and the earlier ones of the same thing: where it serves, they have been overtaken.
    pub(crate) fn up_to(&self, number: u64) -> Vec<u64> {
        let change = self.waiting.iter().find(|waiting| waiting.number == number).map(|waiting| &waiting.change);
        self.numbers_of(|waiting| {
            let overtaken = change.is_some_and(|change| change.replaces(&waiting.change));
            waiting.number == number || overtaken && waiting.number < number
        })
    }

    /// Makes these of the waiting changes to `draft`.
    pub(crate) fn apply(&self, numbers: &[u64], draft: &mut Draft) {
        let waiting = self.waiting.iter().filter(|waiting| numbers.contains(&waiting.number));
        waiting.for_each(|waiting| waiting.change.apply(draft));
    }

    /// These wait no more.
    pub(crate) fn remove(&mut self, numbers: &[u64]) {
        self.waiting.retain(|waiting| !numbers.contains(&waiting.number));
    }

    /// A head that moved is nothing to a component that reads that branch no more, and does not wait to read it.
    pub(crate) fn forget_other_bindings(&mut self, base: &Table) {
        let tables: Vec<_> = self.waiting.iter().filter_map(|waiting| waiting.change.table().cloned()).collect();
        self.waiting.retain(|waiting| {
            waiting.change.concerns(base) || tables.iter().any(|table| waiting.change.concerns(table))
        });
    }

    /// These were tried, and failed: what was to be tried once waits no more, and who waits for nothing else is told what was
    /// found. Who waits for no change of his own is told if that is all.
    pub(crate) fn failed(&mut self, tried: &[u64], found: &Found) {
        self.waiting.retain(|waiting| !waiting.once || !tried.contains(&waiting.number));
        let rest = self.numbers();
        let untried = |number: &u64| rest.contains(number) && !tried.contains(number);
        let failed = |numbers: &[u64]| match numbers {
            [] => rest == tried,
            numbers => numbers.iter().any(|number| tried.contains(number)) && !numbers.iter().any(untried),
        };
        self.answer(|numbers| {
            let found = || found.of(if numbers.is_empty() { tried } else { numbers });
            failed(numbers).then(|| Err(found()))
        });
    }

    /// Tells those for whom nothing waits any more that it serves; who waits for no change of his own, waits for all.
    pub(crate) fn tell_served(&mut self) {
        let waiting = self.numbers();
        let serves = |numbers: &[u64]| match numbers {
            [] => waiting.is_empty(),
            numbers => !numbers.iter().any(|number| waiting.contains(number)),
        };
        self.answer(|numbers| serves(numbers).then_some(Ok(())));
    }

    fn numbers_of(&self, which: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        self.waiting.iter().filter(|waiting| which(waiting)).map(|waiting| waiting.number).collect()
    }

    /// Answers those who wait, where `answer` has one for the changes that they wait for.
    fn answer(&mut self, mut answer: impl FnMut(&[u64]) -> Option<Result<(), Disproof>>) {
        let replies = std::mem::take(&mut self.replies);
        for (numbers, reply) in replies {
            match answer(&numbers) {
                Some(result) => drop(reply.send(result)),
                None => self.replies.push((numbers, reply)),
            }
        }
    }
}

/// What is wrong with changes that were tried, together and one by one.
pub(crate) struct Found {
    all: Disproof,
    /// Of those that were tried alone, the newest first.
    alone: Vec<(u64, Disproof)>,
    /// Whether any of them may pass later.
    pub(crate) passing: bool,
}

impl Found {
    pub(crate) fn of_all(disproof: Disproof) -> Self {
        Self { passing: disproof.passing, all: disproof, alone: Vec::new() }
    }

    pub(crate) fn alone(&mut self, number: u64, disproof: Disproof) {
        self.passing |= disproof.passing;
        self.alone.push((number, disproof));
    }

    /// What is wrong with these: with each itself, where that is known.
    pub(crate) fn of(&self, numbers: &[u64]) -> Disproof {
        let mut alone = self.alone.iter().filter(|(number, _)| numbers.contains(number)).map(|(_, disproof)| disproof);
        let Some(newest) = alone.next() else { return self.all.clone() };
        let mut disproof = newest.clone();
        for older in alone {
            let problems = older.problems.iter().filter(|problem| !newest.problems.contains(problem));
            disproof.problems.extend(problems.cloned());
            disproof.passing |= older.passing;
        }
        disproof
    }
}
