//! `_headers` and `_redirects`, in the syntax of Cloudflare Pages. Lines that can't be used are told by `validate`; what
//! serves was proved, and leaves such lines out.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

use crate::lookup;
use crate::tree::{Fault, Kind, Tree};

pub(crate) mod headers;
pub(crate) mod pattern;
pub(crate) mod redirects;
pub(crate) mod template;

/// The text of a file of rules at the root; none if it is not there. The error is words for the log.
pub(crate) fn text(tree: &impl Tree, name: &str) -> Result<Option<String>, String> {
    let path = match lookup::find(tree, name) {
        Ok((path, entry)) if entry.kind == Kind::File => path,
        Ok(_) => return Err("not a file".to_owned()),
        Err(Fault::NotFound) => return Ok(None),
        Err(Fault::Other(words)) => return Err(words),
    };
    match tree.contents(&path) {
        Ok(contents) => String::from_utf8(contents).map(Some).map_err(|_| "not UTF-8".to_owned()),
        Err(Fault::NotFound) => Err("gone while it was read".to_owned()),
        Err(Fault::Other(words)) => Err(words),
    }
}

/// The lines of a file that say something, with their number counted from 0.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let meaningful = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with('#');
    text.lines().map(str::trim).enumerate().filter(meaningful)
}
