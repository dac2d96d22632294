//! The one who proves and switches: a task for each slot, and nothing else switches.
//!
//! A candidate takes all changes that wait; if that fails, each alone on top of what was last proved, the newest first, so
//! that nobody who may push to one branch can hold up another. What failed waits on, and is tried again after each later
//! switch.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Change, Disproof, Draft, Generation, Inputs, Ledger, Level, Prepared, Runtime, Start,
    queue::{Found, Queue},
    slot::{Draining, Message, Shared},
};

/// Older generations that may still be at work beside the one that serves.
const DRAINING: usize = 4;
/// A proof that a newer change overtakes may go on for this long before it is given up.
const GRACE: Duration = Duration::from_millis(250);
/// After so many that were given up in a row one is left to end, so that changes that come faster than proofs can't keep
/// all of them from serving.
const OVERTAKEN: usize = 4;
/// When to try again what may pass by itself.
const RETRY: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
];

/// What was tried, if there was anything to try, and how it failed.
type Tried = (Option<Inputs>, Disproof);

pub(crate) struct Keeper {
    runtime: Arc<Runtime>,
    ledger: Arc<dyn Ledger>,
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    /// What candidates are built on: what serves or, where nothing does yet, what stands on disk.
    base: Draft,
    waiting: Queue,
    prepares: Vec<(Vec<Change>, oneshot::Sender<Result<Prepared, Disproof>>)>,
    retry: Option<Instant>,
    failures: usize,
    /// Proofs in a row that were given up for a newer change.
    overtaken: usize,
    /// What was tried last in vain, all that waits together, and how it failed.
    told: Option<Tried>,
    /// To be served if today's table makes the whole fail.
    proved: Option<Inputs>,
    /// Until a first generation was prepared.
    held: bool,
}

impl Keeper {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        ledger: Arc<dyn Ledger>,
        shared: Arc<Shared>,
        messages: mpsc::Receiver<Message>,
        start: Start,
    ) -> Self {
        let mut keeper = Self {
            runtime,
            ledger,
            shared,
            messages,
            base: start.current.clone(),
            waiting: Queue::default(),
            prepares: Vec::new(),
            retry: None,
            failures: 0,
            overtaken: 0,
            told: None,
            proved: start.proved,
            held: start.held,
        };
        if start.unchanged {
            keeper.resume(&start.current);
        }
        keeper
    }

    pub(crate) async fn run(mut self) {
        self.settle(None).await;
        if !self.serves() && !self.held {
            // Under today's table, the bytes and revisions that a former run proved: until these pass, nothing is well.
            let current = self.base.clone();
            self.shared.unproved.store(true, Ordering::Relaxed);
            self.resume(&current);
            self.shared.unproved.store(self.serves(), Ordering::Relaxed);
            if self.serves() {
                // What was tried just now waits.
                let tried = self.told.clone();
                self.settle(tried).await;
            }
        }
        self.proved = None;
        loop {
            let retry = self.retry;
            let again = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.messages.recv() => {
                    let Some(message) = message else { return };
                    self.receive(message);
                    while let Ok(message) = self.messages.try_recv() {
                        self.receive(message);
                    }
                }
                () = again => self.told = None,
            }
            self.settle(None).await;
            while let Some((changes, reply)) = self.prepares.pop() {
                self.prepare(&changes, reply).await;
            }
        }
    }

    fn serves(&self) -> bool {
        self.shared.serving.load().is_some()
    }

    /// Serves without a proof what a former run has proved; what `current` has beside it waits.
    fn resume(&mut self, current: &Draft) {
        let Some(proved) = self.proved.take() else { return };
        match self.runtime.assemble(&self.shared.name, proved) {
            Ok(generation) => {
                self.base = Draft::of(generation.inputs());
                let (title, journal) = (generation.title(), self.runtime.journal());
                if self.shared.unproved.load(Ordering::Relaxed) {
                    let words = format!("serves {title}, proved before, but not by what the manifest says today");
                    journal.about(&self.shared.name, Level::Warning, words);
                } else {
                    journal.about(&self.shared.name, Level::Info, format!("serves {title}, as proved before"));
                }
                self.shared.switch(Arc::new(generation));
                for change in self.base.changes_to(current) {
                    // What came since waits already.
                    if !self.waiting.has_newer(&change) {
                        self.waiting.push(change, false);
                    }
                }
            }
            Err(disproof) => {
                self.failed(None, disproof);
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Changed(changes, reply) => {
                let numbers = changes.into_iter().map(|change| self.waiting.push(change, false)).collect();
                if let Some(reply) = reply {
                    self.waiting.answer_when(numbers, reply);
                }
            }
            Message::Attempt(change, reply) => {
                let number = self.waiting.push(change, true);
                self.waiting.answer_when(vec![number], reply);
            }
            Message::Prepare(changes, reply) => self.prepares.push((changes, reply)),
        }
    }

    /// Proves what waits until nothing is left that passes; of what is `known` it knows already.
    async fn settle(&mut self, mut known: Option<Tried>) {
        if self.held && !self.serves() {
            return;
        }
        self.retry = None;
        'candidates: loop {
            self.waiting.forget_other_bindings(&self.base.table);
            let everything = self.waiting.numbers();
            let Some(candidate) = self.candidate(&everything) else {
                let disproof = Disproof::of("there is no component file yet", false);
                self.failed(None, disproof.clone());
                return self.waiting.failed(&everything, &Found::of_all(disproof));
            };
            if self.serves_already(&candidate) {
                self.waiting.remove(&everything);
                self.failures = 0;
                self.told = None;
                // By a change that took another back, and not since one was given up.
                if self.shared.clear() && !everything.is_empty() {
                    let words = self.shared.serving.load().as_ref().map(|serving| serving.title()).unwrap_or_default();
                    self.runtime.journal().about(&self.shared.name, Level::Info, format!("serves {words}, as before"));
                }
                self.waiting.tell_served();
                return;
            }
            let tried = candidate.clone();
            let before = known.take().filter(|(before, _)| before.as_ref().is_some_and(|before| before.same(&tried)));
            let attempted = match before {
                Some((_, how)) => Some(Err(how)),
                None => self.attempt(candidate, &everything).await,
            };
            let mut found = match attempted {
                None => continue,
                Some(Ok(generation)) => {
                    self.switch(generation, &everything).await;
                    continue;
                }
                Some(Err(disproof)) => Found::of_all(disproof),
            };
            for number in everything.iter().rev().filter(|_| everything.len() > 1) {
                let Some(candidate) = self.candidate(&[*number]) else { continue };
                if self.serves_already(&candidate) {
                    self.waiting.remove(&self.waiting.up_to(*number));
                    self.waiting.tell_served();
                    continue;
                }
                match self.attempt(candidate, &[*number]).await {
                    None => continue 'candidates,
                    Some(Ok(generation)) => {
                        self.switch(generation, &self.waiting.up_to(*number)).await;
                        continue 'candidates;
                    }
                    Some(Err(disproof)) => found.alone(*number, disproof),
                }
            }
            // What waits is at fault, or what serves as well.
            if !everything.is_empty()
                && self.shared.unproved.load(Ordering::Relaxed)
                && let Some(base) = self.candidate(&[])
            {
                match self.attempt(base, &[]).await {
                    None => continue,
                    Some(Ok(generation)) => {
                        self.switch(generation, &[]).await;
                        continue;
                    }
                    Some(Err(disproof)) => found.passing |= disproof.passing,
                }
            }
            // Before anybody is told, so that who looks then finds it.
            let news = self.failed(Some(tried), found.of(&everything));
            self.waiting.failed(&everything, &found);
            // What came meanwhile was not tried yet, and what was to be tried once waits no more.
            if self.waiting.numbers() != everything {
                continue;
            }
            self.overtaken = 0;
            if found.passing {
                self.failures += usize::from(news);
                self.retry = Some(Instant::now() + RETRY[self.failures.clamp(1, RETRY.len()) - 1]);
            }
            return;
        }
    }

    fn serves_already(&self, candidate: &Inputs) -> bool {
        let proved = self.serves() && !self.shared.unproved.load(Ordering::Relaxed);
        proved && self.base.complete().is_some_and(|base| base.same(candidate))
    }

    /// The base with these of the waiting changes.
    fn candidate(&self, numbers: &[u64]) -> Option<Inputs> {
        let mut draft = self.base.clone();
        self.waiting.apply(numbers, &mut draft);
        draft.complete()
    }

    /// Proves a candidate, of these changes; nothing if a newer change overtook it.
    async fn attempt(&mut self, candidate: Inputs, of: &[u64]) -> Option<Result<Generation, Disproof>> {
        let (runtime, name) = (self.runtime.clone(), self.shared.name.clone());
        let mut proof = Box::pin(async move { runtime.prove(&name, candidate).await });
        if self.overtaken >= OVERTAKEN {
            let proved = proof.await;
            self.was_left_to_end(&proved);
            return Some(proved);
        }
        loop {
            let message = tokio::select! {
                biased;
                proved = &mut proof => {
                    self.was_left_to_end(&proved);
                    return Some(proved);
                }
                message = self.messages.recv() => message,
            };
            // The sender is gone: the host is stopping.
            let Some(message) = message else { return Some(proof.await) };
            let overtakes = match &message {
                // Who only asks how it stands changes nothing.
                Message::Changed(changes, _) => !changes.is_empty(),
                Message::Attempt(..) => true,
                Message::Prepare(..) => false,
            };
            let tried = self.waiting.tried(of);
            self.receive(message);
            if self.waiting.tried(of) != tried {
                // Who asked for it was told that it is over.
                self.overtaken += 1;
                return None;
            }
            if overtakes {
                break;
            }
        }
        let proved = tokio::time::timeout(GRACE, proof).await.ok();
        match &proved {
            Some(proved) => self.was_left_to_end(proved),
            None => self.overtaken += 1,
        }
        proved
    }

    /// Where it failed, what may pass alone is left to end, too.
    fn was_left_to_end(&mut self, proved: &Result<Generation, Disproof>) {
        if proved.is_ok() {
            self.overtaken = 0;
        }
    }

    /// Writes down what was proved, and sends new requests there.
    async fn switch(&mut self, generation: Generation, included: &[u64]) {
        let generation = Arc::new(generation);
        let (ledger, name, proved) = (self.ledger.clone(), self.shared.name.clone(), generation.clone());
        let written = tokio::task::spawn_blocking(move || ledger.proved(&name, &proved)).await;
        if let Ok(Err(words)) = written {
            let words = format!("serves, but will not after a restart: {words}");
            self.runtime.journal().about(&self.shared.name, Level::Warning, words);
        }
        let other = self.base.code.as_ref().is_none_or(|code| code.digest() != generation.digest());
        self.base = Draft::of(generation.inputs());
        self.waiting.remove(included);
        if self.waiting.is_empty() {
            // Before anybody is told that it serves.
            self.shared.clear();
            self.told = None;
        }
        self.runtime.journal().about(&self.shared.name, Level::Info, format!("serves {}", generation.title()));
        let mut refused = self.shared.refused();
        refused.by_hand = None;
        refused.file.take_if(|_| other);
        drop(refused);
        self.shared.unproved.store(false, Ordering::Relaxed);
        let old = self.shared.switch(generation);
        if let Some(old) = old {
            self.drain(&old);
        }
        self.waiting.tell_served();
    }

    /// What is in flight on `old` may end there, within the bounds.
    fn drain(&mut self, old: &Generation) {
        old.retire();
        let (reset, limit) = (old.reset().clone(), old.inputs().table.limits.drain);
        let mut draining = self.shared.draining();
        draining.push(Draining { reset: reset.clone(), counts: old.counts().clone() });
        if draining.len() > DRAINING {
            draining.remove(0).reset.cancel();
        }
        drop(draining);
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            reset.cancel();
        });
    }

    /// One step of a change of several slots: proved here, switched to when all are.
    async fn prepare(&mut self, changes: &[Change], reply: oneshot::Sender<Result<Prepared, Disproof>>) {
        let on_top = |draft: &Draft| {
            let mut draft = draft.clone();
            changes.iter().for_each(|change| change.apply(&mut draft));
            draft.complete().ok_or_else(|| Disproof::of("there is no component file", false))
        };
        let (mut all, mut included) = (self.base.clone(), self.waiting.numbers());
        self.waiting.apply(&included, &mut all);
        let mut proved = self.prove(on_top(&all)).await;
        if proved.is_err() && !included.is_empty() {
            included.clear();
            proved = self.prove(on_top(&self.base)).await;
        }
        let generation = match proved {
            Ok(generation) => generation,
            Err(disproof) => {
                let _ = reply.send(Err(disproof));
                return;
            }
        };
        let (go, gone) = oneshot::channel();
        if reply.send(Ok(Prepared(go))).is_err() {
            return;
        }
        // Dropped without a word: another slot's proof failed.
        let Ok(done) = gone.await else { return };
        included.extend(self.waiting.replaced_by(changes));
        self.switch(generation, &included).await;
        let _ = done.send(());
        self.settle(None).await;
    }

    async fn prove(&self, candidate: Result<Inputs, Disproof>) -> Result<Generation, Disproof> {
        self.runtime.prove(&self.shared.name, candidate?).await
    }

    /// Told once a try, and once more where something else was tried: not because somebody asked how it stands. Whether it
    /// was told.
    fn failed(&mut self, tried: Option<Inputs>, disproof: Disproof) -> bool {
        let words = match self.serves() {
            true => format!("not proved, the former goes on serving: {disproof}"),
            false if self.proved.is_some() => format!("not proved: {disproof}"),
            false => format!("not proved, nothing serves: {disproof}"),
        };
        *self.shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(disproof.clone());
        let same = |a: &Option<Inputs>, b: &Option<Inputs>| match (a, b) {
            (Some(a), Some(b)) => a.same(b),
            (None, None) => true,
            _ => false,
        };
        let news = self.told.as_ref().is_none_or(|(before, how)| *how != disproof || !same(before, &tried));
        if news {
            self.told = Some((tried, disproof));
            self.runtime.journal().about(&self.shared.name, Level::Error, words);
        }
        news
    }
}
