//! What the fuzzers call: what must hold of a decision, whatever is written in a route file and asked for.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::decide::{Action, FieldChange, decide};
use crate::fields;
use crate::name;
use crate::prefix;
use crate::tree::{Fault, Head, Tree, Upstream};
use crate::validate::validate;

/// A name, on the next line a path and a query, and below it the file of that name.
pub fn routes(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let (authority, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (target, file) = rest.split_once('\n').unwrap_or((rest, ""));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        return;
    }
    for name in name::candidates(authority) {
        assert_eq!(name::check(&name), Ok(()), "a file of this name is asked for, and may not be there");
    }
    let Some(name) = name::candidates(authority).next() else { return };
    let branch = Branch { name, contents: file.as_bytes() };
    let upstreams = ["site", "app"].map(|name| Upstream { name: name.into(), component: name == "site" });
    let proved = validate(&branch, &upstreams).is_empty();
    let request = Request { authority, path, query };
    match decide(&branch, &request, || upstreams.to_vec()) {
        Action::Forward { upstream, strip, add, request, response } => {
            assert!(!proved || upstreams.iter().any(|known| known.name == upstream), "{upstream}");
            assert!(strip.is_none_or(|strip| prefix::covers(&strip, path)));
            assert!(add.is_none_or(|add| prefix::parse(&add) == Ok(&add)));
            for change in request.into_iter().chain(response) {
                let (name, value) = match change {
                    FieldChange::Set(name, value) | FieldChange::Add(name, value) => (name, value),
                    FieldChange::Remove(name) => (name, String::new()),
                };
                assert_eq!((fields::check_name(&name), fields::check_value(&value)), (Ok(()), Ok(())));
            }
        }
        Action::Redirect { status, location } => {
            assert!(matches!(status, 301 | 302 | 303 | 307 | 308));
            assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>".contains(&byte)), "{location}");
            // Where it leads is written in the file, whoever asks.
            match location.split_once("://") {
                Some(("http" | "https", rest)) => {
                    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                    assert!(!host.is_empty() && file.contains(host), "{location}");
                }
                _ => assert!(location.starts_with('/') && !location.starts_with("//"), "{location}"),
            }
        }
        Action::Refuse { status, .. } => {
            assert!((400..600).contains(&status));
            assert!(!proved || status != 500 || file.contains("500"), "what was proved is broken");
        }
    }
}

struct Branch<'a> {
    name: String,
    contents: &'a [u8],
}

impl Tree for Branch<'_> {
    fn contents(&self, name: &str) -> Result<Vec<u8>, Fault> {
        if name == self.name { Ok(self.contents.into()) } else { Err(Fault::NotFound) }
    }

    fn root(&self) -> Result<Option<String>, Fault> {
        Ok(Some("one with a file in it".into()))
    }

    fn children(&self) -> Result<Vec<(String, bool)>, Fault> {
        Ok(vec![(self.name.clone(), true)])
    }
}

struct Request<'a> {
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl Head for Request<'_> {
    fn authority(&self) -> String {
        self.authority.into()
    }

    fn under(&self, prefix: &str) -> bool {
        prefix::covers(prefix, self.path)
    }

    fn path(&self) -> String {
        self.path.into()
    }

    fn query(&self) -> Option<String> {
        self.query.map(Into::into)
    }
}

#[cfg(test)]
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept() {
    replay::replay("routes", routes);
}
