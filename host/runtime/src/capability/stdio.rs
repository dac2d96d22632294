//! `wasi:cli` standard output and error: line by line to the log, with the component's name, escaped and rate-limited.

use std::{
    fmt::Write as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::{
    poll::Pollable,
    streams::{OutputStream, StreamResult},
};

use crate::{Journal, Level, Line, Source, ctx::Given};

/// A longer line is cut into several.
const LINE: usize = 4 << 10;

/// How often something may be said: so often at once, and then for each second.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    burst: u32,
    per_second: u32,
}

impl Rate {
    /// Of what a component says: a person can read no more, and the log is bounded.
    pub(crate) const WORDS: Self = Self { burst: 200, per_second: 50 };
    /// Of what is said about its failures, each with a backtrace.
    pub(crate) const FAILURES: Self = Self { burst: 50, per_second: 2 };
}

/// How much is said of a component; one for all its instances.
pub(crate) struct Allowance {
    rate: Rate,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    left: u32,
    since: Instant,
    dropped: u64,
}

impl Allowance {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, bucket: Mutex::new(Bucket { left: rate.burst, since: now, dropped: 0 }) }
    }

    /// Writes what is said of a component, or by it, where it may be; how much was left out before is said first.
    pub(crate) fn write(&self, journal: &dyn Journal, component: &Arc<str>, line: impl FnOnce() -> Line) {
        let Some(dropped) = self.take(Instant::now()) else { return };
        if dropped > 0 {
            let text = format!("{dropped} lines left out: more than {} a second", self.rate.per_second);
            journal.about(component, Level::Warning, text);
        }
        journal.write(line());
    }

    /// Whether a line may be written, and how many were not since the last that was.
    fn take(&self, now: Instant) -> Option<u64> {
        let Rate { burst, per_second } = self.rate;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(bucket.since).as_millis() * u128::from(per_second) / 1000;
        if let Ok(earned @ 1..) = u32::try_from(earned.min(u128::from(burst))) {
            bucket.left = (bucket.left + earned).min(burst);
            bucket.since = now;
        }
        if bucket.left == 0 {
            bucket.dropped += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.dropped))
    }
}

/// One of the two streams of one instance; every handle that a guest opens writes to the same line.
#[derive(Clone)]
pub(crate) struct Lines {
    component: Arc<str>,
    journal: Arc<dyn Journal>,
    allowance: Arc<Allowance>,
    line: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    pub(crate) fn new(given: &Given) -> Self {
        Self {
            component: given.component.clone(),
            journal: given.journal.clone(),
            allowance: given.words.clone(),
            line: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE)) {
            let ended = piece.ends_with(b"\n");
            line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if ended || line.len() >= LINE {
                self.say(&line);
                line.clear();
            }
        }
    }

    /// What was said without a line feed is said.
    pub(crate) fn end(&self) {
        let line = std::mem::take(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner));
        if !line.is_empty() {
            self.say(&line);
        }
    }

    fn say(&self, line: &[u8]) {
        self.allowance.write(&*self.journal, &self.component, || Line {
            level: Level::Info,
            source: Source::Guest(self.component.clone()),
            text: printable(line),
        });
    }
}

impl Drop for Lines {
    /// What an instance said last is often why it died.
    fn drop(&mut self) {
        if Arc::strong_count(&self.line) == 1 {
            self.end();
        }
    }
}

/// A guest's bytes as text that can't move a terminal's cursor or forge a line.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut printable = String::with_capacity(text.len());
    for character in text.trim_end_matches('\r').chars() {
        match character {
            '\t' => printable.push('\t'),
            control
                if control.is_control()
                    || matches!(control, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(printable, "{}", control.escape_default());
            }
            character => printable.push(character),
        }
    }
    printable
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE)
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {
        // Ready at once, but not without giving the thread back: a guest may write for ever.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn control_characters_are_shown() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            (b"\x1b[31mred", "\\u{1b}[31mred"),
            (b"a\tb\r", "a\tb"),
            (b"\xff", "\u{fffd}"),
            ("\u{202e}gnp".as_bytes(), "\\u{202e}gnp"),
        ] {
            assert_eq!(printable(bytes), text);
        }
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let start = Instant::now();
        let allowance = Allowance::new(Rate::WORDS, start);
        let written = (0..1_000).filter(|_| allowance.take(start).is_some()).count();
        assert_eq!(written, 200);
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(800));
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(0));
    }
}
