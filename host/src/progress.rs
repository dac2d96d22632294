//! A line on a terminal about what takes longer than a second, gone when it is done. It never goes into a file or a pipe.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Shown while this lives.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// On standard error, if that is a terminal.
    pub fn show(what: impl Into<String>) -> Self {
        if !stderr().is_terminal() {
            return Self(None);
        }
        let (what, (done, over)) = (what.into(), channel());
        let told = thread::spawn(move || tell(&mut stderr(), &what, &over, Duration::from_secs(1)));
        Self(Some((done, told)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, told)) = self.0.take() {
            drop(done);
            let _ = told.join();
        }
    }
}

fn tell(terminal: &mut impl Write, what: &str, over: &Receiver<()>, second: Duration) {
    let mut seconds = 0;
    while over.recv_timeout(second) == Err(RecvTimeoutError::Timeout) {
        seconds += 1;
        // A terminal that takes nothing is not worth an error.
        let _ = write!(terminal, "\r{what} ({seconds} s)");
        let _ = terminal.flush();
    }
    if seconds > 0 {
        let _ = write!(terminal, "\r\x1b[K");
        let _ = terminal.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(takes: Duration) -> String {
        let (done, over) = channel::<()>();
        let telling = thread::spawn(move || {
            let mut terminal = Vec::new();
            tell(&mut terminal, "proving", &over, Duration::from_millis(100));
            terminal
        });
        thread::sleep(takes);
        drop(done);
        String::from_utf8(telling.join().unwrap()).unwrap()
    }

    #[test]
    fn what_is_quick_is_not_told_and_what_is_told_is_wiped_away() {
        assert_eq!(told(Duration::ZERO), "");
        let slow = told(Duration::from_millis(250));
        assert!(slow.starts_with("\rproving (1 s)\rproving (2 s)") && slow.ends_with("\r\x1b[K"), "{slow:?}");
    }
}
