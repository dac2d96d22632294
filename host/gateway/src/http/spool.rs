//! Lines on their way to a slow place: kept in memory up to a bound, written by a thread of their own. Beyond the bound
//! they are dropped and counted, so that a stuck terminal never stops a request.

use std::{
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::http::access::Sink;

/// Some 4,000 lines.
const MOST: usize = 1 << 20;

/// How long whoever ends it waits for what is left.
const LAST: Duration = Duration::from_secs(1);

/// Takes lines, and writes them in order. Dropped, it writes what is left first, as far as the place takes it at once.
pub struct Spool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    closed: bool,
    /// The writer has ended.
    ended: bool,
}

impl Spool {
    pub fn new(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        std::thread::Builder::new().name("access log".into()).spawn({
            let shared = shared.clone();
            move || run(&shared, out)
        })?;
        Ok(Self(shared))
    }

    /// Lines that nobody will see, since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Spool {
    fn write(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > MOST {
            state.dropped += 1;
            return;
        }
        let idle = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if idle {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let mut state = self.state();
        state.closed = true;
        self.0.changed.notify_one();
        // A place that takes nothing keeps nobody from ending.
        let _ = self.0.changed.wait_timeout_while(state, LAST, |state| !state.ended);
    }
}

fn run(shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.lines.is_empty() {
            if state.closed {
                state.ended = true;
                shared.changed.notify_one();
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut lines, &mut state.lines);
        drop(state);
        // Where standard output is gone, so is whoever would read of it.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex, mpsc},
        time::Duration,
    };

    use super::{MOST, Spool};
    use crate::http::access::Sink;

    /// Writes into memory, each time after it was let.
    struct Gated(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_place_costs_lines_and_no_time() {
        let (gate, gated) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let spool = Spool::new(Gated(gated, written.clone())).unwrap();
        spool.write(b"first\n");
        while !spool.state().lines.is_empty() {
            std::thread::yield_now();
        }
        let long = vec![b'x'; MOST];
        spool.write(&long);
        spool.write(b"lost\n");
        assert_eq!((spool.take_dropped(), spool.take_dropped()), (1, 0));
        drop(gate);
        drop(spool);
        assert_eq!(*written.lock().unwrap(), [b"first\n", &long[..]].concat());
    }

    #[test]
    fn a_stuck_place_keeps_nobody_from_ending() {
        let (_gate, gated) = mpsc::channel();
        let spool = Spool::new(Gated(gated, Arc::default())).unwrap();
        spool.write(b"stuck\n");
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            drop(spool);
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(10)).expect("it ends");
    }
}
