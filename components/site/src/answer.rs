//! What a request is answered with.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use crate::fields::Fields;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Body,
    /// A line for the log.
    pub(crate) log: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    Text(&'static str),
    /// The contents of the file at this path of the tree, which has no links in it.
    File(String),
}

/// Kept by whoever likes, and asked about each time: a branch may move at any moment. (The host's own memory knows when it
/// does.)
pub(crate) const CACHE_CONTROL: &str = "public, max-age=0, must-revalidate";

/// Something that no file answers.
pub(crate) fn plain(status: u16) -> Answer {
    let text = match status {
        400 => "400 Bad Request\n",
        404 => "404 Not Found\n",
        405 => "405 Method Not Allowed\n",
        414 => "414 URI Too Long\n",
        503 => "503 Service Unavailable: this site has not been fetched yet\n",
        _ => "500 Internal Server Error\n",
    };
    let mut fields = Fields::with_capacity(8);
    fields.set("content-type", "text/plain; charset=utf-8");
    fields.set("content-length", &format!("{}", text.len()));
    fields.set("cache-control", "no-store");
    fields.set("x-content-type-options", "nosniff");
    Answer { status, fields, body: Body::Text(text), log: None }
}

/// For what should not be: `words` go to the log, the client sees the status alone.
pub(crate) fn failed(words: &str) -> Answer {
    Answer { log: Some(words.to_owned()), ..plain(500) }
}

/// Elsewhere. Where it leads may depend on the query, so that is not said to be of no matter.
pub(crate) fn redirect(status: u16, location: &str) -> Answer {
    let mut fields = Fields::with_capacity(4);
    fields.set("location", location);
    fields.set("cache-control", CACHE_CONTROL);
    Answer { status, fields, body: Body::Empty, log: None }
}
