//! `_redirects`: where a path leads instead, whether or not there is a file at it. The topmost rule that matches decides,
//! and once. But a rewrite of everything (`/* /index.html 200`) is for what has no file: before files it would hide them all.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pattern::Pattern;
use super::template::{Template, name_length};
use crate::problem::{Problem, Problems};
use crate::target;
use crate::uri;

const MOST_FIXED: usize = 2000;
const MOST_DYNAMIC: usize = 100;
const LONGEST_LINE: usize = 1000;
/// So many redirects in a row no browser follows (Fetch, HTTP-redirect fetch).
const MOST_FOLLOWED: usize = 20;

/// The rules of a `_redirects` file.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    /// In the order of the file.
    rules: Vec<Rule>,
    /// The paths of rules for one path alone, sorted, each with the first such rule.
    fixed: Vec<(String, usize)>,
    /// The other rules.
    dynamic: Vec<usize>,
    /// The first rewrite of everything.
    fallback: Option<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Of its line, counted from 0.
    index: usize,
    source: Pattern,
    target: Template,
    status: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Another path of the tree, decoded, is served in place of the one asked for.
    Rewrite(String),
    Redirect {
        status: u16,
        location: String,
    },
}

impl Redirects {
    pub(crate) fn parse(text: &str) -> (Self, Vec<Problem>) {
        let mut redirects = Self::default();
        let mut problems = Problems::default();
        for (index, line) in super::lines(text) {
            match parse_line(line) {
                Ok((source, target, status)) => {
                    let rule = Rule { index, source, target, status };
                    if let Err(message) = redirects.push(rule) {
                        problems.add(index, message);
                    }
                }
                Err(message) => problems.add(index, message),
            }
        }
        // Stable, so that of two rules for one path the upper stays first.
        redirects.fixed.sort_by(|a, b| a.0.cmp(&b.0));
        redirects.fixed.dedup_by(|b, a| a.0 == b.0);
        (redirects, problems.into_vec())
    }

    /// What the topmost rule for `path` (decoded) makes of it.
    pub(crate) fn find(&self, path: &str, query: Option<&str>) -> Option<Outcome> {
        let fixed =
            self.fixed.binary_search_by(|(source, _)| source.as_str().cmp(path)).ok().map(|at| self.fixed[at].1);
        let above = self.dynamic.iter().take_while(|&&rule| fixed.is_none_or(|fixed| rule < fixed));
        above.chain(&fixed).find_map(|&rule| self.rules[rule].apply(path, query))
    }

    /// The lines, counted from 0, from which a client is redirected round without end. `adds_slash` says of what path a
    /// redirect adds one.
    pub(crate) fn endless(&self, adds_slash: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
        let endless = move |rule: &&Rule| {
            let mut at = rule.led_to();
            for _ in 0..MOST_FOLLOWED {
                let Some(mut path) = at else { return false };
                at = match self.find(&path, None) {
                    Some(Outcome::Redirect { location, .. }) => self::path(&location),
                    None if adds_slash(&path) => {
                        path.push('/');
                        Some(path)
                    }
                    Some(Outcome::Rewrite(_)) | None => None,
                };
            }
            true
        };
        self.rules.iter().filter(endless).map(|rule| rule.index)
    }

    /// The path that is served where there is no file for `path`.
    pub(crate) fn fallback(&self, path: &str) -> Option<String> {
        let rule = self.fallback.as_ref()?;
        Some(rule.target.plain(&rule.source.matches("", path)?))
    }

    fn push(&mut self, rule: Rule) -> Result<(), String> {
        if rule.status == 200 && rule.source.is_everything() {
            self.fallback.get_or_insert(rule);
            return Ok(());
        }
        let next = self.rules.len();
        match rule.source.fixed() {
            Some(_) if self.fixed.len() == MOST_FIXED => {
                return Err(format!("more than {MOST_FIXED} rules for one path each"));
            }
            Some(path) => self.fixed.push((path, next)),
            None if self.dynamic.len() == MOST_DYNAMIC => {
                return Err(format!("more than {MOST_DYNAMIC} rules with `*` or placeholders"));
            }
            None => self.dynamic.push(next),
        }
        self.rules.push(rule);
        Ok(())
    }
}

impl Rule {
    /// The path that the rule leads to first, whatever its captures are; none where that is a file, or another host.
    fn led_to(&self) -> Option<String> {
        /// Stands for what was captured: no rule has it as its text.
        const ANYTHING: &str = "\u{e000}";
        let captures = self.source.names().map(|name| (name, ANYTHING)).collect();
        if self.status == 200 { None } else { path(&self.target.encoded(&captures)) }
    }

    fn apply(&self, path: &str, query: Option<&str>) -> Option<Outcome> {
        let captures = self.source.matches("", path)?;
        if self.status == 200 {
            return Some(Outcome::Rewrite(self.target.plain(&captures)));
        }
        let mut location = self.target.encoded(&captures);
        if location.starts_with('/') {
            // Two slashes would name a host, and a capture may begin with one.
            let path = location.trim_start_matches('/');
            location = format!("/{path}");
        }
        Some(Outcome::Redirect { status: self.status, location: target::with_query(&location, query) })
    }
}

/// The path of a location of this site, decoded, and as a client resolves it (RFC 3986, section 5.2.4).
fn path(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = String::from_utf8(uri::decode(path)?.into_owned()).ok()?;
    let mut resolved: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in path.split('/') {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(resolved.pop()),
            _ => resolved.push(segment),
        }
    }
    if open {
        resolved.push("");
    }
    Some(format!("/{}", resolved.join("/")))
}

fn parse_line(line: &str) -> Result<(Pattern, Template, u16), String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("longer than {LONGEST_LINE} bytes"));
    }
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let comment = words.iter().skip(2).position(|word| word.starts_with('#')).map_or(words.len(), |at| at + 2);
    let (source, to, status) = match words[..comment] {
        [source, to] => (source, to, "302"),
        [source, to, status] => (source, to, status),
        _ => return Err("a line is `SOURCE DESTINATION [STATUS]`".to_owned()),
    };
    let Ok(status @ (200 | 301 | 302 | 303 | 307 | 308)) = status.parse() else {
        return Err(format!("the status is 200, 301, 302, 303, 307 or 308, not `{}`", status.escape_debug()));
    };
    let source = source.split('#').next().unwrap_or(source);
    let pattern = Pattern::path(source).map_err(|wrong| format!("source `{}`: {wrong}", source.escape_debug()))?;
    let target = parse_destination(to, status, &pattern)
        .map_err(|wrong| format!("destination `{}`: {wrong}", to.escape_debug()))?;
    if let Some(name) = placeholders(to).find(|name| pattern.names().all(|known| known != *name)) {
        let missing = match name {
            "splat" => "`:splat` is what `*` stands for, and the source has none: write `*` there".to_owned(),
            _ => format!("the source has no `:{name}`: write it there"),
        };
        return Err(format!("destination `{}`: {missing}, or `%3A` for a mere colon", to.escape_debug()));
    }
    Ok((pattern, target, status))
}

/// The names that stand behind colons in `to`.
fn placeholders(to: &str) -> impl Iterator<Item = &str> {
    let name = |(colon, _): (usize, &str)| &to[colon + 1..=colon + name_length(&to[colon..])];
    to.match_indices(':').map(name).filter(|name| !name.is_empty())
}

fn parse_destination(to: &str, status: u16, pattern: &Pattern) -> Result<Template, &'static str> {
    if status == 200 {
        if !to.starts_with('/') {
            return Err("with 200, a path of this site");
        }
        let path = to.split(['?', '#']).next().unwrap_or(to);
        let decoded = uri::decode(path).ok_or("`%` needs two hexadecimal digits behind it")?;
        let path = core::str::from_utf8(&decoded).map_err(|_| "not UTF-8 when it is decoded")?;
        if path.contains("//") || !target::is_public(&path[1..]) {
            return Err("with 200, a path that is served: without `//`, and nothing in it begins with a dot");
        }
        return Ok(Template::new(path, pattern));
    }
    let mut encoded = String::new();
    uri::push_reference(&mut encoded, to);
    let template = Template::new(&encoded, pattern);
    if to.starts_with("//") {
        return Err("begins with `//`, which names a host");
    }
    if to.starts_with('/') {
        return Ok(template);
    }
    let host = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"));
    let Some(host) = host else { return Err("a path that begins with `/`, or a URL that begins with `https://`") };
    // A host that came from the request would let anybody make links of this site that lead anywhere.
    let authority = host.split(['/', '?', '#']).next().unwrap_or(host);
    let fixed = template.beginning().len() > to.len() - host.len() + authority.len() || template.is_fixed();
    if authority.is_empty() || !fixed {
        return Err("the host is written out, with `/` behind it");
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, cases: &[(&str, Option<&str>)]) {
        let (redirects, problems) = Redirects::parse(text);
        assert_eq!(problems, []);
        for (target, expect) in cases {
            let (path, query) = target.split_once('?').map_or((*target, None), |(path, query)| (path, Some(query)));
            let line = redirects.find(path, query).map(|outcome| match outcome {
                Outcome::Rewrite(path) => format!("200 {path}"),
                Outcome::Redirect { status, location } => format!("{status} {location}"),
            });
            assert_eq!(line.as_deref(), *expect, "{target}");
        }
    }

    #[test]
    fn the_example_of_the_documentation() {
        let text = "
            # comment
            /home301 / 301
            /home302 / 302
            /querystrings /?query=string 301
            /twitch https://twitch.tv
            /trailing /trailing/ 301
            /notrailing/ /nottrailing 301
            /page/ /page2/#fragment 301
            /blog/* https://blog.my.domain/:splat
            /products/:code/:name /products?code=:code&name=:name  # inline
            /rewritten/* /app/index.html 200
        ";
        check(
            text,
            &[
                ("/home301", Some("301 /")),
                ("/home302", Some("302 /")),
                ("/home302?a=b", Some("302 /?a=b")),
                ("/querystrings?a=b", Some("301 /?query=string")),
                ("/twitch", Some("302 https://twitch.tv")),
                ("/trailing", Some("301 /trailing/")),
                ("/trailing/", None),
                ("/notrailing/", Some("301 /nottrailing")),
                ("/page/?a", Some("301 /page2/?a#fragment")),
                ("/blog/2024/x", Some("302 https://blog.my.domain/2024/x")),
                ("/products/1/t w", Some("302 /products?code=1&name=t%20w")),
                ("/rewritten/a/b?c", Some("200 /app/index.html")),
                ("/other", None),
            ],
        );
    }

    #[test]
    fn a_rewrite_of_everything_is_for_what_has_no_file() {
        let (redirects, problems) =
            Redirects::parse("/* /index.html 200\n/* /hidden.html 200\n/a /b 301\n/x/* /y 200\n/*.htm /z 200");
        assert_eq!(problems, []);
        assert_eq!(redirects.fallback("/users/7").as_deref(), Some("/index.html"));
        assert_eq!(redirects.find("/users/7", None), None);
        assert!(redirects.find("/a", None).is_some() && redirects.find("/x/1", None).is_some());
        assert_eq!(Redirects::parse("/* /files/:splat 200").0.fallback("/a/b").as_deref(), Some("/files/a/b"));
        for other in ["/* /index.html 302", "/x/* /y 200", "/*.htm /z 200", "/:x /y 200", "/ /y 200"] {
            assert_eq!(Redirects::parse(other).0.fallback("/x/1"), None, "{other}");
        }
    }

    #[test]
    fn the_topmost_rule_decides() {
        check(
            "/a /first\n/a /second\n/* https://b.test/:splat\n/b /hidden\n/a/b /hidden",
            &[
                ("/a", Some("302 /first")),
                ("/b", Some("302 https://b.test/b")),
                ("/a/b", Some("302 https://b.test/a/b")),
            ],
        );
        check("/x/* /first\n/x/y /hidden\n/z /third", &[("/x/y", Some("302 /first")), ("/z", Some("302 /third"))]);
    }

    #[test]
    fn what_comes_near_its_source_is_not_taken_for_it() {
        check(
            "/a /A\n/x/keep /elsewhere\n/x/* /x/keep\n/in/* /in/:splat 200\n/old/:id /old/:id/\n/*.htm /:splat\n\
             /y/* https://b.test/y/:splat\n/:n/x /:n/:n\n/z https://b.test:8443/Talk%3AMain?at=12:30",
            &[
                ("/a", Some("302 /A")),
                ("/x/b", Some("302 /x/keep")),
                ("/in/b", Some("200 /in/b")),
                ("/old/1", Some("302 /old/1/")),
                ("/b.htm", Some("302 /b")),
                ("/y/b", Some("302 https://b.test/y/b")),
                ("/n/x", Some("302 /n/n")),
                ("/z", Some("302 https://b.test:8443/Talk%3AMain?at=12:30")),
            ],
        );
    }

    #[test]
    fn a_capture_names_no_host_and_leaves_no_tree() {
        check(
            "/go/* /:splat 301\n/in/* /files/:splat 200\n/out/* https://b.test/:splat",
            &[
                ("/go//evil.test", Some("301 /evil.test")),
                ("/go/\\evil.test", Some("301 /%5Cevil.test")),
                ("/go/a\r\nSet-Cookie: b", Some("301 /a%0D%0ASet-Cookie:%20b")),
                ("/go/a?b#\r\n", Some("301 /a?b%23%0D%0A")),
                ("/in/é", Some("200 /files/é")),
                ("/out/@evil.test", Some("302 https://b.test/@evil.test")),
            ],
        );
        check("/é /ü", &[("/é", Some("302 /%C3%BC"))]);
    }

    #[test]
    fn broken_lines_are_told_with_their_numbers() {
        for (line, expect) in [
            ("/a", "a line is `SOURCE DESTINATION [STATUS]`"),
            ("/a /b 301 x", "a line is `SOURCE DESTINATION [STATUS]`"),
            ("/a # /b", "the status is 200, 301, 302, 303, 307 or 308, not `/b`"),
            ("/a /b 404", "the status is 200, 301, 302, 303, 307 or 308, not `404`"),
            ("/a /b 301!", "the status is 200, 301, 302, 303, 307 or 308, not `301!`"),
            ("a /b", "source `a`: a path begins with `/`"),
            ("https://a.test/ /b", "source `https://a.test/`: a path begins with `/`"),
            ("/*/* /b", "source `/*/*`: at most one `*`"),
            ("/a?b /c", "source `/a?b`: a pattern is for paths alone, without query or fragment"),
            ("/a b", "destination `b`: a path that begins with `/`, or a URL that begins with `https://`"),
            ("/a //b", "destination `//b`: begins with `//`, which names a host"),
            (
                "/a javascript:alert(1)",
                "destination `javascript:alert(1)`: a path that begins with `/`, or a URL that begins with `https://`",
            ),
            ("/a https://b.test/ 200", "destination `https://b.test/`: with 200, a path of this site"),
            (
                "/a /../b 200",
                "destination `/../b`: with 200, a path that is served: without `//`, and nothing in it begins with a dot",
            ),
            (
                "/a //b/ 200",
                "destination `//b/`: with 200, a path that is served: without `//`, and nothing in it begins with a dot",
            ),
            (
                "/a /_headers 200",
                "destination `/_headers`: with 200, a path that is served: without `//`, and nothing in it begins with a dot",
            ),
            (
                "/a/* /b/%2egit/:splat 200",
                "destination `/b/%2egit/:splat`: with 200, a path that is served: without `//`, and nothing in it begins with a dot",
            ),
            ("/a/* https://:splat/", "destination `https://:splat/`: the host is written out, with `/` behind it"),
            (
                "/a/* https://b.test:splat",
                "destination `https://b.test:splat`: the host is written out, with `/` behind it",
            ),
            ("/a/* https://", "destination `https://`: the host is written out, with `/` behind it"),
            (
                "/a /b/:splat",
                "destination `/b/:splat`: `:splat` is what `*` stands for, and the source has none: write `*` there, or \
                 `%3A` for a mere colon",
            ),
            (
                "/a/:id /b/:ident/:id 200",
                "destination `/b/:ident/:id`: the source has no `:ident`: write it there, or `%3A` for a mere colon",
            ),
            (
                "/a/* https://b.test/?q=:query",
                "destination `https://b.test/?q=:query`: the source has no `:query`: write it there, or `%3A` for a mere \
                 colon",
            ),
        ] {
            let (redirects, problems) = Redirects::parse(&format!("# one\n\n  {line}\n"));
            assert_eq!(problems, [Problem { line: Some(3), message: expect.into() }], "{line}");
            assert!(redirects.rules.is_empty());
        }
        let (_, problems) = Redirects::parse(&format!("/a /{}", "b".repeat(1000)));
        assert_eq!(problems, [Problem { line: Some(1), message: "longer than 1000 bytes".into() }]);
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let lines = |count: u32, rest| (0..count).map(|n| format!("/{n}{rest}")).collect::<Vec<_>>().join("\n");
        let (fixed, dynamic) = (lines(2001, " /x"), lines(101, "/* /x"));
        let problem = |line, message: &str| [Problem { line: Some(line), message: message.into() }];
        assert_eq!(Redirects::parse(&fixed).1, problem(2001, "more than 2000 rules for one path each"));
        assert_eq!(Redirects::parse(&dynamic).1, problem(101, "more than 100 rules with `*` or placeholders"));
    }
}
