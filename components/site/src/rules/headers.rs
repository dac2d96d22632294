//! `_headers`: fields for the responses to paths. Every rule that matches is applied, from the top down.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pattern::Pattern;
use super::template::Template;
use crate::fields::{Fields, OVERHEAD};
use crate::problem::{Problem, Problems};

const MOST: usize = 100;
const LONGEST_LINE: usize = 2000;

/// Bytes of fields that may come together, without what is captured: half of what the host takes of one response.
const LARGEST: usize = 32 * 1024;

/// What frames a message, belongs to one connection, or is told by the host because it alone knows it.
const HOSTS: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "strict-transport-security",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "vary",
];

/// The rules of a `_headers` file.
#[derive(Debug, Default)]
pub(crate) struct Headers(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// The line that it begins with, counted from 0.
    index: usize,
    pattern: Pattern,
    changes: Vec<Change>,
}

/// Names are in lower case.
#[derive(Debug)]
enum Change {
    Set(String, Template),
    Remove(String),
}

impl Headers {
    pub(crate) fn parse(text: &str) -> (Self, Vec<Problem>) {
        let mut rules: Vec<Rule> = Vec::new();
        let mut problems = Problems::default();
        // Whether fields belong to the last rule, and the line of a rule that has none yet.
        let mut open = None;
        let mut bare = None;
        for (index, line) in super::lines(text) {
            if line.len() > LONGEST_LINE {
                problems.add(index, format!("longer than {LONGEST_LINE} bytes"));
            } else if is_pattern(line) {
                complain_of_bare(bare.take(), &mut problems);
                open = Some(false);
                match Pattern::path_or_url(line) {
                    Ok(_) if rules.len() == MOST => {
                        problems.add(index, format!("more than {MOST} rules"));
                        break;
                    }
                    Ok(pattern) => {
                        rules.push(Rule { index, pattern, changes: Vec::new() });
                        (open, bare) = (Some(true), Some(index));
                    }
                    Err(wrong) => problems.add(index, format!("`{}`: {wrong}", line.escape_debug())),
                }
            } else if let Some(open) = open {
                bare = None;
                // The fields of a rule that can't be used go with it.
                let Some(rule) = rules.last_mut().filter(|_| open) else { continue };
                match parse_change(line, &rule.pattern) {
                    Ok(change) => rule.changes.push(change),
                    Err(wrong) => problems.add(index, wrong),
                }
            } else {
                problems.add(index, "a path comes first, then the fields for it");
            }
        }
        complain_of_bare(bare, &mut problems);
        if let Some((at, index)) = too_much(&rules) {
            problems.add(index, format!("with this, more than {} KiB of fields may come together", LARGEST / 1024));
            rules.truncate(at);
        }
        (Self(rules), problems.into_vec())
    }

    /// Changes the fields of the response to `path` (decoded) of `host` (lower case, without port). What the site's own
    /// rules say first replaces what was there; what they say again is added, less where `keep` says so.
    pub(crate) fn apply(&self, host: &str, path: &str, fields: &mut Fields, keep: Option<&str>) {
        let mut said: Vec<(&str, String)> = Vec::new();
        for rule in &self.0 {
            let Some(captures) = rule.pattern.matches(host, path) else { continue };
            for change in &rule.changes {
                match change {
                    Change::Remove(name) => {
                        said.retain(|(other, _)| other != name);
                        if keep != Some(name) {
                            fields.remove(name);
                        }
                    }
                    Change::Set(name, value) => {
                        let value = value.encoded(&captures);
                        match said.iter_mut().find(|(other, _)| other == name) {
                            // A list, RFC 9110 section 5.3; but cookies are no list, RFC 6265 section 3.
                            Some((_, before)) if name != "set-cookie" => {
                                before.push_str(", ");
                                before.push_str(&value);
                            }
                            _ => said.push((name, value)),
                        }
                    }
                }
            }
        }
        // Who says how long it may be kept under its address means all of it: `app.js?v=2` is another one than `?v=1`.
        if keep != Some("cache-control") && said.iter().any(|(name, _)| *name == "cache-control") {
            fields.remove("no-vary-search");
        }
        for (name, _) in said.iter().filter(|(name, _)| keep != Some(*name)) {
            fields.remove(name);
        }
        for (name, value) in said.iter().filter(|(name, _)| keep != Some(*name)) {
            fields.append(name, value);
        }
    }
}

/// The first rule with which a response may have more fields than the host takes, and its line: those of one path come with
/// all that are for more than one.
fn too_much(rules: &[Rule]) -> Option<(usize, usize)> {
    let (mut common, mut most, mut own) = (0, 0, BTreeMap::<String, usize>::new());
    for (at, rule) in rules.iter().enumerate() {
        let bytes: usize = rule.changes.iter().map(Change::bytes).sum();
        match rule.pattern.fixed() {
            Some(path) => {
                let own = own.entry(path).or_default();
                *own += bytes;
                most = most.max(*own);
            }
            None => common += bytes,
        }
        if common + most > LARGEST {
            return Some((at, rule.index));
        }
    }
    None
}

impl Change {
    /// At least so much of a response.
    fn bytes(&self) -> usize {
        match self {
            Self::Set(name, value) => name.len() + value.least() + OVERHEAD,
            Self::Remove(_) => 0,
        }
    }
}

/// A line that begins a rule, as opposed to a field.
fn is_pattern(line: &str) -> bool {
    let scheme = line
        .split_once("://")
        .is_some_and(|(scheme, _)| !scheme.contains(|c: char| c.is_ascii_whitespace() || c == ':'));
    line.starts_with('/') || scheme
}

/// A rule without a field says nothing.
fn complain_of_bare(rule: Option<usize>, problems: &mut Problems) {
    if let Some(index) = rule {
        problems.add(index, "no field for it");
    }
}

fn parse_change(line: &str, pattern: &Pattern) -> Result<Change, String> {
    if let Some(name) = line.strip_prefix('!') {
        return Ok(Change::Remove(parse_name(name.trim())?));
    }
    let Some((name, value)) = line.split_once(':') else {
        return Err("a field is `Name: value`, or `! Name` to take one away".to_owned());
    };
    let name = parse_name(name.trim())?;
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("`{name}` has no value"));
    }
    if !value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')) {
        return Err(format!("the value of `{name}` is not printable ASCII"));
    }
    Ok(Change::Set(name, Template::new(value, pattern)))
}

fn parse_name(name: &str) -> Result<String, String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Err(format!("`{}` is not the name of a field", name.escape_debug()));
    }
    let lower = name.to_ascii_lowercase();
    if HOSTS.contains(&lower.as_str()) {
        return Err(format!("`{name}` is the host's own, and can't be changed here"));
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, host: &str, path: &str, keep: Option<&str>) -> String {
        let (headers, problems) = Headers::parse(text);
        assert_eq!(problems, []);
        let mut fields = Fields::default();
        for (name, value) in [("cache-control", "default"), ("referrer-policy", "default")] {
            fields.set(name, value);
        }
        headers.apply(host, path, &mut fields, keep);
        let lines =
            fields.into_vec().into_iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(&value)));
        lines.collect::<Vec<_>>().join("; ")
    }

    const EXAMPLE: &str = "
        # comment
        /secure/page
          X-Frame-Options: DENY
          X-Content-Type-Options: nosniff
          Referrer-Policy: no-referrer

        /static/*
          Access-Control-Allow-Origin: *
          X-Robots-Tag: nosnippet

        https://myproject.pages.dev/*
          X-Robots-Tag: noindex

        /movies/:title
          X-Movie: You are watching \":title\"
        /*.jpg
          ! referrer-policy
          Cache-Control: public, max-age=31536000, immutable
    ";

    #[test]
    fn the_example_of_the_documentation() {
        let default = "cache-control: default; referrer-policy: default";
        for (host, path, expect) in [
            ("a.test", "/", default.to_owned()),
            ("a.test", "/secure/page", "cache-control: default; x-frame-options: DENY; x-content-type-options: nosniff; referrer-policy: no-referrer".to_owned()),
            ("a.test", "/static/image", format!("{default}; access-control-allow-origin: *; x-robots-tag: nosnippet")),
            ("myproject.pages.dev", "/home", format!("{default}; x-robots-tag: noindex")),
            ("myproject.pages.dev", "/static/styles.css", format!("{default}; access-control-allow-origin: *; x-robots-tag: nosnippet, noindex")),
            ("a.test", "/movies/a b\r\nX: y", format!("{default}; x-movie: You are watching \"a%20b%0D%0AX:%20y\"")),
            ("a.test", "/photo.jpg", "cache-control: public, max-age=31536000, immutable".to_owned()),
        ] {
            assert_eq!(apply(EXAMPLE, host, path, None), expect, "{host}{path}");
        }
    }

    #[test]
    fn rules_add_up_and_take_away_what_stands_above_them() {
        let text = "/*\n A: 1\n A: 2\n B: 3\n Set-Cookie: a=b\n Set-Cookie: c=d\n/x\n ! B\n A: 4\n/x\n B: 5";
        assert_eq!(
            apply(text, "", "/x", None),
            "cache-control: default; referrer-policy: default; a: 1, 2, 4; set-cookie: a=b; set-cookie: c=d; b: 5"
        );
        let text = "/*\n Cache-Control: immutable\n/a\n ! Cache-Control";
        assert_eq!(apply(text, "", "/a", None), "referrer-policy: default");
        for path in ["/a", "/b"] {
            assert_eq!(
                apply(text, "", path, Some("cache-control")),
                "cache-control: default; referrer-policy: default"
            );
        }
    }

    #[test]
    fn broken_lines_are_told_with_their_numbers() {
        for (text, expect) in [
            ("X-A: b", &[(1, "a path comes first, then the fields for it")][..]),
            ("/a", &[(1, "no field for it")]),
            ("/a\n/b\n X: y", &[(1, "no field for it")]),
            ("/*/*\n X: y", &[(1, "`/*/*`: at most one `*`")]),
            ("http://a.test/\n X: y", &[(1, "`http://a.test/`: a URL begins with `https://`")]),
            ("/a\n X", &[(2, "a field is `Name: value`, or `! Name` to take one away")]),
            ("/a\n X Y: z\n A: b", &[(2, "`X Y` is not the name of a field")]),
            ("/a\n : z\n A: b", &[(2, "`` is not the name of a field")]),
            ("/a\n !\n A: b", &[(2, "`` is not the name of a field")]),
            ("/a\n X:\n A: b", &[(2, "`x` has no value")]),
            ("/a\n X: é\n A: b", &[(2, "the value of `x` is not printable ASCII")]),
            ("/a\n X: a\u{1}\n A: b", &[(2, "the value of `x` is not printable ASCII")]),
            ("/a\n Content-Length: 1\n A: b", &[(2, "`Content-Length` is the host's own, and can't be changed here")]),
            ("/a\n ! Date\n A: b", &[(2, "`Date` is the host's own, and can't be changed here")]),
        ] {
            let problems = Headers::parse(text).1;
            let expect: Vec<_> = expect
                .iter()
                .map(|(line, message)| Problem { line: Some(*line), message: (*message).into() })
                .collect();
            assert_eq!(problems, expect, "{text}");
        }
        let hosts = "Connection Content-Encoding Content-Length Content-Range Date HTTP2-Settings Keep-Alive \
                     Proxy-Connection Strict-Transport-Security TE Trailer Trailers Transfer-Encoding Upgrade Vary";
        for name in hosts.split(' ') {
            let told = format!("`{name}` is the host's own, and can't be changed here");
            for line in [format!("{name}: x"), format!("! {name}")] {
                let problems = Headers::parse(&format!("/a\n {line}\n A: b")).1;
                assert_eq!(problems, [Problem { line: Some(2), message: told.clone() }], "{line}");
            }
        }
        let long = format!("/a\n A: b\n X: {}", "y".repeat(2000));
        assert_eq!(Headers::parse(&long).1, [Problem { line: Some(3), message: "longer than 2000 bytes".into() }]);
    }

    /// What the host would not take is told before it serves; what is for other paths does not count.
    #[test]
    fn what_comes_together_is_bounded() {
        let long = "x".repeat(900);
        let fields = |count: usize| (0..count).map(|n| format!(" X-{n}: {long}\n")).collect::<Vec<_>>().concat();
        let told = |line| {
            [Problem { line: Some(line), message: "with this, more than 32 KiB of fields may come together".into() }]
        };
        for (text, expect) in [
            (format!("/*\n{}", fields(33)), &[][..]),
            (format!("/*\n{}", fields(80)), &told(1)),
            (format!("/*\n{}", " A: b\n".repeat(1000)), &told(1)),
            (format!("/*\n{}", (0..500).map(|n| format!(" {n}: b\n")).collect::<Vec<_>>().concat()), &told(1)),
            (format!("/a\n{}/b\n{}/c/*\n{}", fields(16), fields(16), fields(16)), &[]),
            (format!("/a\n{}/b\n{}/a\n{}", fields(17), fields(17), fields(20)), &told(37)),
            (format!("/a\n{}/b/*\n{}/:c\n{}", fields(12), fields(12), fields(12)), &told(27)),
        ] {
            assert_eq!(Headers::parse(&text).1, expect, "{} bytes", text.len());
        }
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let text = (0..102).map(|n| format!("/{n}\n A: b\n")).collect::<Vec<_>>().concat();
        let (headers, problems) = Headers::parse(&text);
        assert_eq!(problems, [Problem { line: Some(201), message: "more than 100 rules".into() }]);
        assert_eq!(headers.0.len(), 100);
    }
}
