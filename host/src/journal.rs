//! The host's log: the newest lines are kept for `host logs`, each new one goes to whoever follows and to standard error.
//! Nothing here waits for a reader: one that is too slow loses lines, and is told how many.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use atoll_runtime::{Journal, Level, Line, Source};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    terminal::{Colour, Colours},
    text::printable,
};

/// Kept lines, by number and by the bytes of their text.
const LINES: usize = 10_000;
const BYTES: usize = 4 << 20;
/// Of one line's text, in bytes: a trap's backtrace fits.
const LONGEST: usize = 16 << 10;
/// Lines that one reader may be behind.
const BEHIND: usize = 1024;

/// Tells the time.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// One line of the log, printable as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the Unix epoch.
    pub time: i64,
    pub severity: Severity,
    /// The component that it is about, or from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Whether these are the component's own words.
    pub guest: bool,
    /// Several lines only where the host speaks.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

pub struct Log {
    clock: Clock,
    kept: Mutex<Kept>,
    printer: Option<Printer>,
}

struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    followers: broadcast::Sender<Arc<Entry>>,
}

struct Printer {
    queue: mpsc::SyncSender<Print>,
    lost: Arc<AtomicU64>,
}

enum Print {
    Entry(Arc<Entry>),
    /// Answered when all before it was printed.
    Flush(mpsc::SyncSender<()>),
}

impl Log {
    /// Keeps lines and prints none.
    pub fn new(clock: Clock) -> Self {
        let (followers, _) = broadcast::channel(BEHIND);
        let kept = Kept { entries: VecDeque::new(), bytes: 0, followers };
        Self { clock, kept: Mutex::new(kept), printer: None }
    }

    /// Prints each line too, without its time, which whoever collects them adds. From a thread of its own, so that a
    /// terminal that stands still stops nobody else.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn printing(clock: Clock, mut output: impl Write + Send + 'static, colours: Colours) -> std::io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(BEHIND);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let print = move || {
            // What cannot be printed is lost: there is nowhere to complain.
            for line in lines {
                match line {
                    Print::Entry(entry) => {
                        let _ = writeln!(output, "{}", render(&entry, colours));
                    }
                    Print::Flush(done) => {
                        let _ = output.flush();
                        let _ = done.send(());
                    }
                }
                let lost = counted.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(output, "({lost} lines were not printed here: too many at once)");
                }
            }
        };
        std::thread::Builder::new().name("log".into()).spawn(print)?;
        Ok(Self { printer: Some(Printer { queue, lost }), ..Self::new(clock) })
    }

    /// What is kept, oldest first.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.kept().entries.iter().cloned().collect()
    }

    /// What is kept, and all that follows: nothing is missing between the two.
    pub fn follow(&self) -> (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>) {
        let kept = self.kept();
        (kept.entries.iter().cloned().collect(), kept.followers.subscribe())
    }

    /// Waits until all lines so far are printed, or for so long. For the end of the program.
    pub fn flush(&self, within: Duration) {
        let Some(printer) = &self.printer else { return };
        let (done, wait) = mpsc::sync_channel(1);
        if printer.queue.try_send(Print::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(within);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for Log {
    fn write(&self, line: Line) {
        let entry = Arc::new(Entry::new(line, (self.clock)()));
        self.kept().push(entry.clone());
        if let Some(printer) = &self.printer
            && printer.queue.try_send(Print::Entry(entry)).is_err()
        {
            printer.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Kept {
    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.text.len();
        self.entries.push_back(entry.clone());
        while self.entries.len() > LINES || self.bytes > BYTES {
            let oldest = self.entries.pop_front().expect("what is over its bound is not empty");
            self.bytes -= oldest.text.len();
        }
        // An error: nobody follows.
        let _ = self.followers.send(entry);
    }
}

impl Entry {
    fn new(line: Line, now: Timestamp) -> Self {
        let severity = match line.level {
            Level::Info => Severity::Info,
            Level::Warning => Severity::Warning,
            Level::Error => Severity::Error,
        };
        let (component, guest) = match line.source {
            Source::Host => (None, false),
            Source::Component(name) => (Some(printable(&name).into_owned()), false),
            Source::Guest(name) => (Some(printable(&name).into_owned()), true),
        };
        let (text, rest) = line.text.split_at(line.text.floor_char_boundary(LONGEST));
        let mut text = if guest {
            printable(text).into_owned()
        } else {
            text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
        };
        if !rest.is_empty() {
            write!(text, "… ({} bytes more)", rest.len()).expect("a string takes all");
        }
        Self { time: now.as_millisecond(), severity, component, guest, text }
    }
}

/// As a person reads it, without a line feed at its end. No words of a guest's look like the host's: a guest's name is
/// followed by `>`, and a line that goes on is indented.
pub fn render(entry: &Entry, colours: Colours) -> String {
    let severity = match entry.severity {
        Severity::Info => String::new(),
        Severity::Warning => format!("{} ", colours.paint(Colour::Yellow, "warning:")),
        Severity::Error => format!("{} ", colours.paint(Colour::Red, "error:")),
    };
    let component = entry.component.as_ref().map(|component| {
        let mark = if entry.guest { '>' } else { ':' };
        format!("{}{mark} ", colours.paint(Colour::Cyan, component))
    });
    format!("{severity}{}{}", component.unwrap_or_default(), entry.text.replace('\n', "\n    "))
}

/// The same, after the time in a zone.
pub fn render_with_time(entry: &Entry, zone: &TimeZone, colours: Colours) -> String {
    let time = Timestamp::from_millisecond(entry.time).unwrap_or_default().to_zoned(zone.clone());
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
    format!("{} {}", colours.paint(Colour::Dim, time), render(entry, colours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        Log::new(Box::new(|| Timestamp::from_millisecond(1_700_000_000_123).unwrap()))
    }

    fn line(source: Source, text: impl Into<String>) -> Line {
        Line { level: Level::Info, source, text: text.into() }
    }

    #[test]
    fn lines_are_rendered_for_people() {
        let log = log();
        for (level, source, text) in [
            (Level::Info, Source::Host, "https://localhost:8443/"),
            (Level::Warning, Source::Component("site".into()), "trapped:\n  0: \u{1b}[2Jmain"),
            (Level::Error, Source::Guest("site".into()), "error: it is me\nerror: the host"),
        ] {
            log.write(Line { level, source, text: text.into() });
        }
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let entries = log.entries();
        let rendered = entries.iter().map(|entry| render_with_time(entry, &zone, Colours::NEVER)).collect::<Vec<_>>();
        assert_eq!(
            rendered,
            [
                "2023-11-15T00:13:20.123+02:00 https://localhost:8443/",
                "2023-11-15T00:13:20.123+02:00 warning: site: trapped:\n      0: \\u{1b}[2Jmain",
                "2023-11-15T00:13:20.123+02:00 error: site> error: it is me\\nerror: the host",
            ]
        );
        let painted = render_with_time(&log.entries()[2], &TimeZone::UTC, Colours::of(true, None, None));
        assert_eq!(
            painted,
            "\x1b[2m2023-11-14T22:13:20.123+00:00\x1b[0m \x1b[31merror:\x1b[0m \x1b[36msite\x1b[0m> error: it is me\\nerror: the host"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let log = log();
        for number in 0..LINES + 5 {
            log.write(line(Source::Host, number.to_string()));
        }
        let entries = log.entries();
        assert_eq!((entries.len(), &*entries[0].text), (LINES, "5"));

        let text = "é".repeat(LONGEST);
        for _ in 0..LINES {
            log.write(line(Source::Guest("site".into()), text.clone()));
        }
        let entries = log.entries();
        assert!(entries.iter().map(|entry| entry.text.len()).sum::<usize>() <= BYTES);
        assert_eq!(entries[0].text, format!("{}… (16384 bytes more)", "é".repeat(LONGEST / 2)));
    }

    #[tokio::test]
    async fn a_follower_misses_nothing_or_is_told() {
        let log = log();
        log.write(line(Source::Host, "before"));
        let (kept, mut lines) = log.follow();
        log.write(line(Source::Host, "after"));
        assert_eq!(kept.iter().map(|entry| &*entry.text).collect::<Vec<_>>(), ["before"]);
        assert_eq!(lines.recv().await.unwrap().text, "after");

        for _ in 0..BEHIND + 7 {
            log.write(line(Source::Host, "many"));
        }
        assert_eq!(lines.recv().await.unwrap_err(), broadcast::error::RecvError::Lagged(7));
    }

    #[test]
    fn a_writer_that_stands_still_stops_nobody() {
        /// Takes bytes once the gate is open.
        struct Gated(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);
        impl Write for Gated {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                self.1.lock().unwrap().extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (gate, closed) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let clock = Box::new(Timestamp::default);
        let log = Log::printing(clock, Gated(closed, written.clone()), Colours::NEVER).unwrap();
        let count = 2 * BEHIND;
        for number in 0..count {
            log.write(line(Source::Host, number.to_string()));
        }
        drop(gate);
        // The queue was full: a first flush may find no place in it.
        while written.lock().unwrap().is_empty()
            || !String::from_utf8_lossy(&written.lock().unwrap()).contains("not printed")
        {
            std::thread::yield_now();
        }
        log.flush(Duration::from_secs(10));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let printed = written.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count();
        let lost = written.lines().find_map(|line| line.strip_prefix('(')?.split_once(' ')?.0.parse::<usize>().ok());
        assert_eq!(printed + lost.unwrap(), count);
        assert!(lost.unwrap() >= count - BEHIND - 2, "{lost:?}");
    }
}
