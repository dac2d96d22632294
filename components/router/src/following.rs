//! A redirect as a client follows it: from one decision to the next, as long as it is led to names of this branch.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::decide::{self, Action};
use crate::location;
use crate::route_file::RouteFile;
use crate::tree::{Head, Tree};

/// So many redirects in a row no browser follows (Fetch, HTTP-redirect fetch).
const MOST: usize = 20;

/// What stands behind a prefix is whatever a client asks for: here, a segment that no route can be about.
const ANYTHING: &str = "/%00";

/// Files that are read anew on the way, all redirects of a branch together: each costs about as much as it is large. Beyond
/// that nobody looks.
pub(crate) const READ: u32 = 4096;

/// Whether a client that `routes`, which are those of `file`, lead to `to` is led on without end. `left` counts down.
pub(crate) fn is_endless(tree: &impl Tree, file: &str, routes: &RouteFile<'_>, to: &str, left: &mut u32) -> bool {
    let mut at_home = true;
    let mut asked = Asked { authority: authority(file), path: String::new() };
    let mut location = location::build(to, ANYTHING, None);
    for _ in 0..MOST {
        let path = match absolute(&location) {
            None => &*location,
            Some((host, path)) => {
                // Behind another port is somebody else.
                let Some(name) = name(host) else { return false };
                at_home = at_home && file.strip_suffix(".toml") == Some(&name);
                asked.authority = name;
                path
            }
        };
        asked.path = location::resolved(path);
        // Its own are not read again for each step.
        let decided = if at_home {
            decide::by_routes(file, routes, &asked)
        } else {
            let Some(fewer) = left.checked_sub(1) else { return false };
            *left = fewer;
            decide::decide(tree, &asked, Vec::new)
        };
        match decided {
            Action::Redirect { location: next, .. } => location = next,
            Action::Forward { .. } | Action::Refuse { .. } => return false,
        }
    }
    true
}

/// A name that `file` decides about: for a wildcard, one that has no file of its own.
fn authority(file: &str) -> String {
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    match stem.strip_prefix('*') {
        Some(parent) => ["any--name", parent].concat(),
        None => stem.to_string(),
    }
}

/// The host and the path of a location with a scheme.
fn absolute(location: &str) -> Option<(&str, &str)> {
    let rest = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"))?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// A host as the router is asked about it, if requests for it come here.
fn name(host: &str) -> Option<String> {
    let host = match host.rsplit_once(':') {
        Some((host, "80" | "443")) => host,
        Some(_) if !host.ends_with(']') => return None,
        _ => host,
    };
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

/// A request that is not there.
struct Asked {
    authority: String,
    path: String,
}

impl Head for Asked {
    fn authority(&self) -> String {
        self.authority.clone()
    }

    fn under(&self, prefix: &str) -> bool {
        crate::prefix::covers(prefix, &self.path)
    }

    fn path(&self) -> String {
        self.path.clone()
    }

    fn query(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::branch;
    use crate::{reader, route_file};

    #[test]
    fn what_goes_round_is_found_by_whatever_way_it_goes() {
        let tree = branch(&[
            ("self.test.toml", "redirect = { to = 'https://Self.test:443' }"),
            ("one.test.toml", "redirect = { to = 'http://two.test./' }"),
            ("two.test.toml", "upstream = 'site'\n[[path]]\nprefix = '/a'\nredirect = { to = 'https://one.test/a' }"),
            ("there.test.toml", "redirect = { to = '/x' }\n[[path]]\nprefix = '/x'\nredirect = { to = '/y' }"),
            (
                "steps.test.toml",
                "[[path]]\nprefix = '/a'\nredirect = { to = '/b' }\n[[path]]\nprefix = '/b'\nredirect = { to = '/a/x' }\n\
                 [[path]]\nprefix = '/b/x'\nupstream = 'site'",
            ),
            ("*.wild.test.toml", "redirect = { to = 'https://www.wild.test/' }"),
            ("_.toml", "redirect = { to = 'https://main.test/' }"),
            ("main.test.toml", "upstream = 'site'"),
        ]);
        for (file, to, endless) in [
            ("self.test.toml", "https://Self.test:443", true),
            ("self.test.toml", "https://self.test:8443/", false),
            ("one.test.toml", "http://two.test./", false),
            ("one.test.toml", "http://two.test./a", true),
            ("two.test.toml", "https://one.test/a", true),
            // Every path but those under /x and /y would do, and these are what comes.
            ("there.test.toml", "/x", true),
            ("there.test.toml", "/y", true),
            ("steps.test.toml", "/b", false),
            ("steps.test.toml", "/a/x", false),
            ("*.wild.test.toml", "https://www.wild.test/", true),
            ("*.wild.test.toml", "https://wild.test/", false),
            ("_.toml", "https://main.test/", false),
            ("_.toml", "https://other.test/", false),
            ("_.toml", "https://www.wild.test/", true),
            ("main.test.toml", "https://[::1]/", false),
        ] {
            let contents = tree.contents(file).unwrap();
            let text = str::from_utf8(&contents).unwrap();
            let document = reader::parse(text).unwrap();
            let (routes, problems) = route_file::read(text, &document);
            assert_eq!(problems, []);
            assert_eq!(is_endless(&tree, file, &routes, to, &mut 100), endless, "{file}: {to}");
        }
    }
}
