//! `[upstream.NAME]`: a peer that requests are forwarded to by URL.

use std::{path::PathBuf, time::Duration};

use super::{Name, Origin, Scheme, limits::TIMES, reader::Table};
use crate::{problem::Place, text::quoted};

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: Name,
    /// At least one: the next is tried where one refuses.
    pub urls: Vec<Origin>,
    /// Over plain TCP; over TLS, ALPN says.
    pub protocol: Protocol,
    /// Whether it gets the path as the client sent it.
    pub raw_path: bool,
    /// How long it may take to be reached.
    pub connect: Duration,
    /// How long to the head of its answer, and each time that its body pauses.
    pub response: Duration,
    /// Roots in place of the system's.
    pub ca: Option<PathBuf>,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http11,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    H2c,
}

const CONNECT: Duration = Duration::from_secs(5);
const RESPONSE: Duration = Duration::from_mins(1);

pub(super) fn read(name: Name, mut table: Table<'_>) -> Option<Upstream> {
    let place = table.place();
    let urls = table.required("url", "\"http://10.0.0.3:80\", or a list of such");
    let urls = urls.and_then(|entry| entry.texts(Origin::parse));
    let protocol = table.text("protocol", protocol);
    let raw_path = table.flag("raw-path").unwrap_or_default();
    let connect = table.duration("connect", TIMES).unwrap_or(CONNECT);
    let response = table.duration("response", TIMES).unwrap_or(RESPONSE);
    let ca = table.file("ca");

    let has = |scheme| urls.iter().flatten().any(|url| url.scheme == scheme);
    if urls.is_some() && protocol.is_some() && !has(Scheme::Http) {
        table.report("has a `protocol`, and every `url` is https://, where ALPN says: leave it out");
    }
    if urls.is_some() && ca.is_some() && !has(Scheme::Https) {
        table.report("has a `ca`, and no `url` is https://");
    }
    table.finish();
    let protocol = protocol.unwrap_or_default();
    Some(Upstream { name, urls: urls?, protocol, raw_path, connect, response, ca, place })
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "http/1.1" => Ok(Protocol::Http11),
        "h2c" => Ok(Protocol::H2c),
        _ => Err(format!("{} is none of \"http/1.1\", \"h2c\"", quoted(text))),
    }
}
