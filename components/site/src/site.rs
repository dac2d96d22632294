//! One branch as a web site: which file answers which path, and with what fields.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use crate::answer::{self, Answer, Body, CACHE_CONTROL};
use crate::date;
use crate::fields::Fields;
use crate::locate::{self, Located};
use crate::rules;
use crate::rules::headers::Headers;
use crate::rules::redirects::{Outcome, Redirects};
use crate::sniff;
use crate::target::{self, Refused};
use crate::tree::{Fault, Tree};
use crate::uri;

/// A branch stands still for an instance's life, so what is read here is read once.
pub(crate) struct Site<T> {
    tree: T,
    /// Whether the branch has a commit.
    fetched: bool,
    last_modified: Option<String>,
    redirects: Redirects,
    headers: Headers,
    /// The page for what is not there.
    not_found: Option<Page>,
}

struct Page {
    path: String,
    /// In bytes.
    size: u64,
    media_type: &'static str,
}

/// Bytes of fields: the host takes 64 KiB of one response.
const LARGEST: usize = 60 * 1024;

/// Seconds until a site that is being fetched may be there.
const RETRY_AFTER: &str = "5";

impl<T: Tree> Site<T> {
    /// `committed` is the head commit's time; none without a commit. The error is words for the log.
    pub(crate) async fn open(tree: T, committed: Option<u64>) -> Result<Self, String> {
        let read = |name| rules::text(&tree, name).map_err(|words| format!("{name}: {words}"));
        let redirects = read("_redirects")?.map(|text| Redirects::parse(&text).0).unwrap_or_default();
        let headers = read("_headers")?.map(|text| Headers::parse(&text).0).unwrap_or_default();
        let not_found = match locate::file(&tree, "404.html") {
            Ok(Located::File { name, path, size, contents, .. }) => {
                let media_type = sniff::file(&tree, &name, &path, size, contents).await;
                media_type.ok().map(|media_type| Page { path, size, media_type })
            }
            _ => None,
        };
        let last_modified = committed.and_then(date::http_date);
        Ok(Self { tree, fetched: committed.is_some(), last_modified, redirects, headers, not_found })
    }

    pub(crate) fn tree(&self) -> &T {
        &self.tree
    }

    /// `target` is a path with a query; `authority` may have a port.
    pub(crate) async fn answer(&self, method: &str, target: &str, authority: &str) -> Answer {
        let answer = self.find(method, target, authority).await;
        // Rules may say a long path several times over.
        if answer.fields.size() > LARGEST { answer::plain(414) } else { answer }
    }

    async fn find(&self, method: &str, target: &str, authority: &str) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            let mut answer = answer::plain(405);
            answer.fields.set("allow", "GET, HEAD");
            return answer;
        }
        if !self.fetched {
            let mut answer = answer::plain(503);
            answer.fields.set("retry-after", RETRY_AFTER);
            return answer;
        }
        let host = host(authority);
        let target = match target::parse(target) {
            Ok(target) => target,
            Err(Refused::Malformed) => return answer::plain(400),
            Err(Refused::Nowhere) => return self.not_found(&host, target),
        };
        let path = target.path.as_ref();
        // What is not there now may be there in a moment, whatever is said of what is.
        let mut keep = None;
        let located = match self.redirects.find(path, target.query) {
            Some(Outcome::Redirect { status, location }) => return answer::redirect(status, &location),
            Some(Outcome::Rewrite(other)) => locate::locate(&self.tree, &other, true),
            None => match (locate::locate(&self.tree, path, false), self.redirects.fallback(path)) {
                (Ok(Located::Nothing), Some(other)) => {
                    keep = Some("cache-control");
                    locate::locate(&self.tree, &other, true)
                }
                (located, _) => located,
            },
        };
        match located {
            Ok(Located::File { name, path: file, id, size, contents }) => {
                let media_type = match sniff::file(&self.tree, &name, &file, size, contents).await {
                    Ok(media_type) => media_type,
                    Err(fault) => return unreadable(path, fault),
                };
                let mut fields = common_fields(media_type, size);
                fields.set("etag", &format!("\"{id}\""));
                if let Some(date) = &self.last_modified {
                    fields.set("last-modified", date);
                }
                self.headers.apply(&host, path, &mut fields, keep);
                Answer { status: 200, fields, body: Body::File(file), log: None }
            }
            Ok(Located::Directory) => {
                let mut location = String::with_capacity(path.len() + 1);
                uri::push_path(&mut location, path);
                location.push('/');
                answer::redirect(308, &target::with_query(&location, target.query))
            }
            Ok(Located::Pointer(log)) => Answer { log: Some(log), ..self.not_found(&host, path) },
            Ok(Located::Nothing) => self.not_found(&host, path),
            Err(fault) => unreadable(path, fault),
        }
    }

    fn not_found(&self, host: &str, path: &str) -> Answer {
        let mut answer = if let Some(page) = &self.not_found {
            let fields = common_fields(page.media_type, page.size);
            Answer { status: 404, fields, body: Body::File(page.path.clone()), log: None }
        } else {
            let mut answer = answer::plain(404);
            answer.fields.set("cache-control", CACHE_CONTROL);
            answer.fields.set("no-vary-search", "params");
            answer
        };
        // What is not there now may be there in a moment, whatever is said of what is.
        self.headers.apply(host, path, &mut answer.fields, Some("cache-control"));
        answer
    }
}

fn unreadable(path: &str, fault: Fault) -> Answer {
    let words = match fault {
        Fault::NotFound => "gone while it was looked at".to_owned(),
        Fault::Other(words) => words,
    };
    answer::failed(&format!("{}: {words}", path.escape_debug()))
}

/// What every file has.
fn common_fields(media_type: &str, size: u64) -> Fields {
    let mut fields = Fields::with_capacity(10);
    fields.set("content-type", media_type);
    // The host knows how much it carries of what it remembers; of what is too large for that, it is told here.
    fields.set("content-length", &format!("{size}"));
    fields.set("cache-control", CACHE_CONTROL);
    fields.set("no-vary-search", "params");
    fields.set("x-content-type-options", "nosniff");
    fields.set("referrer-policy", "strict-origin-when-cross-origin");
    fields
}

/// An authority without its port, in lower case.
fn host(authority: &str) -> String {
    let port = authority.rfind(':').filter(|&colon| !authority[colon..].contains(']')).unwrap_or(authority.len());
    authority[..port].to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
