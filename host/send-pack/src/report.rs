//! What a server reports of a push: whether it took the pack, and what became of each ref (gitprotocol-pack(5),
//! report-status and its version 2). Hostile: only lines of refs that were to be updated count, and words are bounded.

use std::io::Read;

use crate::{Error, packet::Packets, shown};

/// What became of a ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It stands where it was to stand, or is gone if it was to go.
    Taken,
    /// It was taken, and the server put something else there, or put it elsewhere.
    Rewritten,
    /// In the server's words, escaped.
    Refused(String),
}

impl Report {
    /// With what the server said beside it: its hooks say there why they refuse.
    pub(crate) fn with(self, words: &[u8]) -> Self {
        match self {
            Self::Refused(reason) if !words.is_empty() => Self::Refused(format!("{reason}: {}", shown(words))),
            report => report,
        }
    }
}

/// Reads a report up to its end, or to the connection's: of each of `names`.
pub(crate) fn read(packets: &mut Packets<impl Read>, names: &[&str]) -> Result<Vec<Report>, Error> {
    let unpacked = packets.line()?.ok_or(Error::Framing("a report without a line"))?;
    let unpack = unpacked.strip_prefix(b"unpack ").ok_or(Error::Framing("a report that begins otherwise"))?;
    let unpacked = (unpack != b"ok").then(|| shown(unpack));
    let mut reports: Vec<Option<Report>> = vec![None; names.len()];
    // Of whom the last line was.
    let mut ours = None;
    while let Some(line) = packets.line()? {
        let (word, rest) = split(line);
        match word {
            b"ok" | b"ng" => {
                let (about, reason) = split(rest);
                ours = names.iter().position(|name| about == name.as_bytes());
                if let Some(at) = ours {
                    reports[at] = Some(if word == b"ok" { Report::Taken } else { Report::Refused(shown(reason)) });
                }
            }
            b"option" if matches!(split(rest).0, b"new-oid" | b"refname") => {
                if let Some(report @ Report::Taken) = ours.and_then(|at| reports[at].as_mut()) {
                    *report = Report::Rewritten;
                }
            }
            _ => {}
        }
    }
    let report = |report| match (unpacked.clone(), report) {
        (Some(why), Some(Report::Refused(reason))) => Ok(Report::Refused(format!("{reason} ({why})"))),
        (Some(why), _) => Ok(Report::Refused(why)),
        (None, Some(report)) => Ok(report),
        (None, None) => Err(Error::Framing("a report that does not name the branch")),
    };
    reports.into_iter().map(report).collect()
}

/// At the first space.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_what_its_line_of_our_ref_says() {
        let refused = |words: &str| Ok(Report::Refused(words.into()));
        let framing = |words: &str| Err(format!("this is not the Git protocol: {words}"));
        for (lines, expected) in [
            (&["unpack ok\n", "ok refs/heads/main\n"][..], Ok(Report::Taken)),
            (&["unpack ok", "ng refs/heads/main hook declined\n"], refused("hook declined")),
            (&["unpack ok", "ng refs/heads/main"], refused("")),
            (&["unpack ok", "ng refs/heads/main \x1b[2Jno"], refused("\\u{1b}[2Jno")),
            (
                &["unpack index-pack failed", "ng refs/heads/main unpacker error"],
                refused("unpacker error (index-pack failed)"),
            ),
            (&["unpack no", "ok refs/heads/main"], refused("no")),
            (&["unpack ok", "ok refs/heads/other", "option new-oid 1", "ok refs/heads/main"], Ok(Report::Taken)),
            (&["unpack ok", "ok refs/heads/main", "option new-oid 1"], Ok(Report::Rewritten)),
            (&["unpack ok", "ok refs/heads/main", "option forced-update"], Ok(Report::Taken)),
            (&["unpack ok", "ok refs/heads/mai"], framing("a report that does not name the branch")),
            (&["unpack ok"], framing("a report that does not name the branch")),
            (&["ok refs/heads/main"], framing("a report that begins otherwise")),
            (&[], framing("a report without a line")),
        ] {
            let mut bytes: Vec<u8> =
                lines.iter().flat_map(|line| format!("{:04x}{line}", line.len() + 4).into_bytes()).collect();
            bytes.extend(b"0000");
            let read = read(&mut Packets::new(&bytes[..]), &["refs/heads/main"]);
            let read = read.map(|mut reports| reports.remove(0)).map_err(|error| error.to_string());
            assert_eq!(read, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_report_that_breaks_off_is_none() {
        let whole = b"000eunpack ok\n0017ok refs/heads/main\n0000";
        for length in 0..whole.len() {
            let error = read(&mut Packets::new(&whole[..length]), &["refs/heads/main"]).unwrap_err().to_string();
            assert_eq!(error, "the connection ended early", "{length}");
        }
    }
}
