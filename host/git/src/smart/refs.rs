//! Which of a server's refs is ours, among however many it names: their names are only compared, and a few of them shown.

use atoll_send_pack::{Error, greeting::Known, packet::Message, shown};
use gix::{ObjectId, refs::FullName};

use super::{AGENT, SmartError};
use crate::remote::NoBranch;

/// Branches that are named where the right one is not there.
const MAX_KNOWN: usize = 10;

/// What was found of one branch.
#[derive(Debug)]
pub(crate) struct Tips {
    /// The ref that is looked for.
    wanted: String,
    at: Option<ObjectId>,
    /// What HEAD names, where it was said.
    head: Option<String>,
    known: Vec<String>,
}

impl Tips {
    /// For `branch`, or what HEAD names.
    pub(crate) fn new(branch: Option<&str>) -> Result<Self, SmartError> {
        let wanted = match branch {
            None => "HEAD".to_owned(),
            Some(name) if name.starts_with("refs/") => name.to_owned(),
            Some(name) => format!("refs/heads/{name}"),
        };
        if FullName::try_from(wanted.as_str()).is_err() {
            return Err(Error::Name(branch.unwrap_or_default().to_owned()).into());
        }
        Ok(Self { wanted, at: None, head: None, known: Vec::new() })
    }

    pub(crate) fn wanted(&self) -> &str {
        &self.wanted
    }

    pub(crate) fn at(&self) -> Option<ObjectId> {
        self.at
    }

    /// What HEAD names, where it was said.
    pub(crate) fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// Nothing at all was named.
    pub(crate) fn are_none(&self) -> bool {
        self.at.is_none() && self.known.is_empty()
    }

    pub(super) fn head_is(&mut self, name: &str) {
        self.head = Some(name.to_owned());
    }

    /// One line: an id, a name, and in version 2 attributes.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else {
            return Err(Error::Framing("a ref without an id or a name"));
        };
        let target = words.find_map(|word| word.strip_prefix(b"symref-target:"));
        if name == b"HEAD"
            && let Some(target) = target
        {
            self.head = Some(String::from_utf8_lossy(target).into_owned());
        }
        if id == b"unborn" {
            return Ok(());
        }
        let id = ObjectId::from_hex(id).map_err(|_| Error::Framing("a ref without an id"))?;
        if name == self.wanted.as_bytes() {
            self.at = Some(id);
        }
        if let Some(branch) = name.strip_prefix(b"refs/heads/")
            && self.known.len() < MAX_KNOWN
        {
            let branch = shown(branch);
            // It may have been looked for by itself before.
            if !self.known.contains(&branch) {
                self.known.push(branch);
            }
        }
        Ok(())
    }

    /// Why the branch is not there.
    pub(crate) fn missing(self) -> SmartError {
        let by_head = self.wanted == "HEAD";
        let name = if by_head { self.head } else { Some(self.wanted) };
        let short = |name: String| shown(name.strip_prefix("refs/heads/").unwrap_or(&name).as_bytes());
        SmartError::Branch(NoBranch { by_head, name: name.map(short), known: self.known })
    }
}

/// Asks for the refs that begin with `prefix`, in version 2.
pub(super) fn list(known: &Known, prefix: &str) -> Vec<u8> {
    let mut message = command(known, "ls-refs");
    message.delimiter().line("symrefs");
    if known.0.feature("ls-refs", "unborn") {
        message.line("unborn");
    }
    message.line(&format!("ref-prefix {prefix}")).flush();
    message.into_bytes()
}

/// The head of a command of version 2.
pub(super) fn command(known: &Known, name: &str) -> Message {
    let mut message = Message::default();
    message.line(&format!("command={name}"));
    if known.0.has("agent") {
        message.line(&format!("agent={AGENT}"));
    }
    if known.0.has("object-format") {
        message.line("object-format=sha1");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234567890123456789012345678901234567890";

    #[test]
    fn the_ref_that_is_ours_is_found_among_others() {
        let lines =
            [("HEAD symref-target:refs/heads/main", 1), ("refs/heads/main", 1), ("refs/heads/main2", 2), ("main", 3)];
        for (branch, found) in [
            (None, Some(1)),
            (Some("main"), Some(1)),
            (Some("main2"), Some(2)),
            (Some("refs/heads/main2"), Some(2)),
            (Some("mai"), None),
        ] {
            let mut tips = Tips::new(branch).unwrap();
            for (line, id) in lines {
                tips.line(format!("{id}{} {line}", &ID[1..]).as_bytes()).unwrap();
            }
            let found = found.map(|id| format!("{id}{}", &ID[1..]));
            assert_eq!(tips.at().map(|id| id.to_string()), found, "{branch:?}");
        }
    }

    #[test]
    fn a_branch_that_is_not_there_is_named_with_those_that_are() {
        let mut tips = Tips::new(Some("main")).unwrap();
        for name in ["refs/heads/../x", "refs/heads/\x1b[2J", "refs/heads/\u{202e}", "refs/tags/v1"] {
            tips.line(format!("{ID} {name}").as_bytes()).unwrap();
        }
        assert_eq!(tips.missing().to_string(), "no branch main; it has ../x, \\u{1b}[2J, \\u{202e}");
        let mut tips = Tips::new(None).unwrap();
        tips.line(b"unborn HEAD symref-target:refs/heads/trunk").unwrap();
        assert_eq!(tips.missing().to_string(), "its HEAD names trunk, which is not there; name one: branch = \"NAME\"");
        let mut tips = Tips::new(None).unwrap();
        tips.line(format!("{ID} refs/heads/main").as_bytes()).unwrap();
        assert_eq!(
            tips.missing().to_string(),
            "its HEAD names a branch that is not there; it has main; name one: branch = \"NAME\""
        );
        assert_eq!(Tips::new(Some("a..b")).unwrap_err().to_string(), "\"a..b\" cannot be a branch's name");
        for line in ["", ID, "x y", " y"] {
            let error = Tips::new(None).unwrap().line(line.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("this is not the Git protocol: a ref without an id"), "{line}: {error}");
        }
    }
}
