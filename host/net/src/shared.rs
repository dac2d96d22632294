//! Connections of HTTP/2 to one origin, each of which carries many requests: as many as its peer allows. Where all are full
//! another is opened, up to a number; then requests wait in a queue, and whoever is at its head takes the next stream that
//! ends. It opens none itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::{
    Notify,
    watch::{self, Receiver, Sender},
};

use crate::{
    DialError,
    body::Outgoing,
    http2::{Allowed, STREAMS},
    pool::Slot,
};

/// Connections at once.
pub(crate) const MOST: usize = 8;

/// How long no further one is tried where one could not be opened beside those that are.
const PAUSE: Duration = Duration::from_secs(1);

/// No connection that is shared has this number.
const APART: u64 = 0;

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// Connections so far, to tell one from the next.
    opened: u64,
    /// The outcome of the attempt that is being made.
    connecting: Option<Receiver<Option<Connected>>>,
    /// When the next attempt may be made.
    pause: Option<Instant>,
    /// The server chose HTTP/1.1 by ALPN: nothing to wait for.
    unwanted: bool,
    /// Requests that wait, in the order in which they came. The first is told when there is something to look at.
    queue: VecDeque<Arc<Notify>>,
}

struct Open {
    number: u64,
    sender: SendRequest<Outgoing>,
    allowed: Arc<Allowed>,
    taken: usize,
    /// When a stream was begun or ended.
    used: Instant,
}

/// What became of the attempt that many wait for.
#[derive(Clone)]
pub(crate) enum Connected {
    /// It is shared.
    Http2,
    /// It is parked.
    Http1,
    Failed(DialError),
}

/// A stream of a connection.
pub(crate) struct Multiplexed {
    pub(crate) sender: SendRequest<Outgoing>,
    pub(crate) stream: Arc<Taken>,
}

/// Counts a stream on its connection: held by what is left of the request and of the response.
pub(crate) struct Taken {
    slot: Arc<Slot>,
    number: u64,
}

/// What `Shared::join` found.
pub(crate) enum Join {
    Open(Multiplexed),
    /// Somebody connects: wait for it, or for a stream to end.
    Wait(Receiver<Option<Connected>>),
    /// Nobody does: connect, tell the slot and the others, and wait as the others do.
    First(Sender<Option<Connected>>, Receiver<Option<Connected>>),
    /// As many are open as may be, or others came before: wait for a turn.
    Full,
    /// There is nothing to share.
    Alone,
}

/// A place in the queue.
pub(crate) struct Waiting<'slot> {
    shared: &'slot Shared,
    turn: Arc<Notify>,
}

impl Shared {
    /// A stream of a connection that is open, unless others wait for one.
    pub(crate) fn take(&self, slot: &Arc<Slot>) -> Option<Multiplexed> {
        let mut state = self.state();
        if state.queue.is_empty() { state.take(slot) } else { None }
    }

    /// Requests at once that connections to its origin carry, as far as is known; none where it wants HTTP/1.1.
    pub(crate) fn room(&self) -> Option<usize> {
        let state = self.state();
        let allowed = state.open.first().map(|open| open.allowed.streams.load(Relaxed));
        (!state.unwanted).then(|| allowed.unwrap_or(STREAMS as usize) * MOST)
    }

    /// A place in the queue, behind all who have one.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let turn = Arc::<Notify>::default();
        self.state().queue.push_back(turn.clone());
        Waiting { shared: self, turn }
    }

    /// A stream, for whoever is first in the queue; or what to wait for.
    pub(crate) fn join(&self, slot: &Arc<Slot>, place: &Waiting<'_>) -> Join {
        let mut state = self.state();
        let first = state.queue.front().is_some_and(|first| Arc::ptr_eq(first, &place.turn));
        if first && let Some(stream) = state.take(slot) {
            return Join::Open(stream);
        }
        match &state.connecting {
            // An error here: whoever connected is gone without a word.
            Some(outcome) if outcome.has_changed().is_ok() => return Join::Wait(outcome.clone()),
            _ => {}
        }
        if state.unwanted {
            return Join::Alone;
        }
        let pause = state.pause.is_some_and(|pause| Instant::now() < pause) && !state.open.is_empty();
        if !first || pause || state.open.len() >= MOST {
            return Join::Full;
        }
        let (sender, receiver) = watch::channel(None);
        state.connecting = Some(receiver.clone());
        // Its outcome concerns all.
        state.queue.iter().for_each(|turn| turn.notify_one());
        Join::First(sender, receiver)
    }

    /// From now on `sender` is shared; its first stream is the caller's.
    pub(crate) fn open(&self, slot: &Arc<Slot>, sender: SendRequest<Outgoing>, allowed: Arc<Allowed>) -> Multiplexed {
        let mut state = self.state();
        state.unwanted = false;
        state.opened += 1;
        let number = state.opened;
        if state.open.len() < MOST {
            let sender = sender.clone();
            state.open.push(Open { number, sender, allowed, taken: 1, used: Instant::now() });
        }
        Multiplexed { sender, stream: Arc::new(Taken { slot: slot.clone(), number }) }
    }

    /// How the attempt at a connection ended. Says whether those who wait for it may go on waiting for a stream.
    pub(crate) fn connected(&self, outcome: &Connected) {
        let mut state = self.state();
        state.connecting = None;
        match outcome {
            Connected::Http2 => state.pause = None,
            Connected::Http1 => state.unwanted = true,
            Connected::Failed(_) => state.pause = Some(Instant::now() + PAUSE),
        }
    }

    /// Whether any is open: then one that could not be opened beside it is no reason to give up.
    pub(crate) fn any(&self) -> bool {
        !self.state().open.is_empty()
    }

    /// No new streams for a connection that has ended, or did not answer in time.
    pub(crate) fn close(&self, number: u64) {
        let mut state = self.state();
        state.open.retain(|open| open.number != number);
        state.tell_first();
    }

    /// There may be room, for the first in the queue, and then for the next.
    pub(crate) fn tell_first(&self) {
        self.state().tell_first();
    }

    /// Drops what has rested too long; says whether nothing is left.
    pub(crate) fn sweep(&self, rested: impl Fn(Instant) -> bool) -> bool {
        let mut state = self.state();
        state.open.retain(|open| !open.sender.is_closed() && (open.taken > 0 || !rested(open.used)));
        state.open.is_empty() && state.connecting.is_none() && state.queue.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    fn end(&self, number: u64) {
        let mut state = self.state();
        if let Some(open) = state.open.iter_mut().find(|open| open.number == number) {
            open.taken -= 1;
            open.used = Instant::now();
        }
        state.tell_first();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_first(&self) {
        if let Some(first) = self.queue.front() {
            first.notify_one();
        }
    }

    /// Of the first connection that has room, so that what is not needed comes to rest.
    fn take(&mut self, slot: &Arc<Slot>) -> Option<Multiplexed> {
        let room = |open: &&mut Open| open.taken < open.allowed.streams.load(Relaxed) && !open.sender.is_closed();
        let open = self.open.iter_mut().find(room)?;
        open.taken += 1;
        open.used = Instant::now();
        let stream = Arc::new(Taken { slot: slot.clone(), number: open.number });
        Some(Multiplexed { sender: open.sender.clone(), stream })
    }
}

impl Multiplexed {
    /// Of a connection that nobody else gets to.
    pub(crate) fn apart(slot: &Arc<Slot>, sender: SendRequest<Outgoing>) -> Self {
        Self { sender, stream: Arc::new(Taken { slot: slot.clone(), number: APART }) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.stream.number
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.slot.shared.end(self.number);
    }
}

impl Waiting<'_> {
    /// Comes about when there is something new for it, also where that was before this was called.
    pub(crate) async fn turn(&self) {
        self.turn.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(place) = state.queue.iter().position(|turn| Arc::ptr_eq(turn, &self.turn)) {
            state.queue.remove(place);
            if place == 0 {
                state.tell_first();
            }
        }
    }
}
