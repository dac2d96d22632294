//! One decision: the route file of the name that was asked for, and in it the longest prefix that covers the path.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::fields::Change;
use crate::location;
use crate::name;
use crate::problem::Problem;
use crate::reader;
use crate::route_file::{self, RouteFile, Rule, Target};
use crate::tree::{Fault, Head, Tree, Upstream};

/// What becomes of a request, as in `wit/routing.wit`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Forward {
        upstream: String,
        strip: Option<String>,
        add: Option<String>,
        request: Vec<FieldChange>,
        response: Vec<FieldChange>,
    },
    Redirect {
        status: u16,
        location: String,
    },
    Refuse {
        status: u16,
        reason: String,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FieldChange {
    Set(String, String),
    Add(String, String),
    Remove(String),
}

/// Decides about the request with `head`. A route file that can't be used, which no proof lets through, is a refusal.
pub(crate) fn decide(tree: &impl Tree, head: &impl Head, upstreams: impl FnOnce() -> Vec<Upstream>) -> Action {
    let authority = head.authority();
    for file in name::candidates(&authority) {
        match tree.contents(&file) {
            Ok(contents) => return by_file(&file, &contents, head),
            Err(Fault::NotFound) => {}
            Err(Fault::Other(words)) => return refuse(500, format!("{file}: {words}")),
        }
    }
    match is_empty(tree) {
        Ok(true) => without_routes(&upstreams()),
        Ok(false) => refuse(404, "no route file for this name".into()),
        Err(Fault::NotFound) => refuse(500, "the binding `routes` has no root".into()),
        Err(Fault::Other(words)) => refuse(500, words),
    }
}

/// Whether there is nothing in the branch, told by its root's id: a list of its files, asked for with every unknown name,
/// would cost a host of ten thousand names dearly.
pub(crate) fn is_empty(tree: &impl Tree) -> Result<bool, Fault> {
    /// Git's id of the empty tree, by SHA-1 and by SHA-256.
    const EMPTY: [&str; 2] = [
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
    ];
    Ok(tree.root()?.is_none_or(|id| EMPTY.contains(&id.as_str())))
}

fn by_file(file: &str, contents: &[u8], head: &impl Head) -> Action {
    let broken = |problem: Option<&Problem>| {
        refuse(500, format!("{file} is broken: {}", problem.map_or("", |problem| &problem.message)))
    };
    let Ok(text) = core::str::from_utf8(contents) else { return refuse(500, format!("{file} is not UTF-8")) };
    let document = match reader::parse(text) {
        Ok(document) => document,
        Err(problem) => return broken(Some(&problem)),
    };
    match route_file::read(text, &document) {
        (routes, problems) if problems.is_empty() => by_routes(file, &routes, head),
        (_, problems) => broken(problems.first()),
    }
}

/// As `routes`, which are those of `file`, have it.
pub(crate) fn by_routes(file: &str, routes: &RouteFile<'_>, head: &impl Head) -> Action {
    match routes.rules.iter().find(|rule| rule.prefix.is_empty() || head.under(rule.prefix)) {
        Some(rule) => by_rule(rule, head),
        None => refuse(404, format!("{file} has no route for this path")),
    }
}

fn by_rule(rule: &Rule<'_>, head: &impl Head) -> Action {
    match &rule.target {
        Target::Upstream { name, strip, add, request, response } => Action::Forward {
            upstream: (*name).into(),
            strip: strip.then(|| rule.prefix.into()),
            add: add.map(Into::into),
            request: changes(request),
            response: changes(response),
        },
        Target::Redirect { to, status } => {
            let path = head.path();
            let rest = path.strip_prefix(rule.prefix).unwrap_or("");
            Action::Redirect { status: *status, location: location::build(to, rest, head.query().as_deref()) }
        }
        Target::Refuse(status) => refuse(*status, "by its route".into()),
    }
}

/// What a host without a router does: every name goes to the one service there is, or to `site` if there are several.
fn without_routes(upstreams: &[Upstream]) -> Action {
    let services: Vec<&Upstream> = upstreams.iter().filter(|upstream| upstream.component).collect();
    let service = match services[..] {
        [only] => Some(only),
        _ => services.into_iter().find(|upstream| upstream.name == "site"),
    };
    match service {
        Some(service) => Action::Forward {
            upstream: service.name.clone(),
            strip: None,
            add: None,
            request: Vec::new(),
            response: Vec::new(),
        },
        None => refuse(404, "there are no routes, and not one service that everything could go to".into()),
    }
}

fn changes(changes: &[Change<'_>]) -> Vec<FieldChange> {
    let owned = |change: &Change<'_>| match change {
        Change::Set(name, value) => FieldChange::Set(name.to_string(), value.to_string()),
        Change::Add(name, value) => FieldChange::Add(name.to_string(), value.to_string()),
        Change::Remove(name) => FieldChange::Remove(name.to_string()),
    };
    changes.iter().map(owned).collect()
}

fn refuse(status: u16, reason: String) -> Action {
    Action::Refuse { status, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::{Branch, branch, request, upstreams};

    const EXAMPLE: &str = r#"
        upstream = "site"
        [[path]]
        prefix   = "/api"
        upstream = "app"
        strip    = true
        [[path]]
        prefix   = "/api/v2/"
        upstream = "app2"
        add      = "/v2"
        [[path]]
        prefix   = "/old"
        redirect = { to = "/new", status = 301 }
        [[path]]
        prefix   = "/away"
        redirect = { to = "https://example.org/" }
        [[path]]
        prefix   = "/private"
        refuse   = 403
    "#;

    /// In a line: `forward NAME -STRIP +ADD FIELDS`, `STATUS LOCATION`, or `STATUS: REASON`.
    fn line(action: &Action) -> String {
        match action {
            Action::Forward { upstream, strip, add, request, response } => {
                let mut line = format!("forward {upstream}");
                line.extend(strip.iter().map(|strip| format!(" -{strip}")));
                line.extend(add.iter().map(|add| format!(" +{add}")));
                line.extend(request.iter().map(|change| format!(" >{change:?}")));
                line.extend(response.iter().map(|change| format!(" <{change:?}")));
                line
            }
            Action::Redirect { status, location } => format!("{status} {location}"),
            Action::Refuse { status, reason } => format!("{status}: {reason}"),
        }
    }

    #[track_caller]
    fn check(files: &[(&'static str, &str)], url: &'static str, expect: &str) {
        assert_eq!(line(&decide(&branch(files), &request(url), || upstreams(&["site!"]))), expect, "{url}");
    }

    #[test]
    fn the_longest_prefix_decides() {
        for (url, expect) in [
            ("a.test/", "forward site"),
            ("a.test/apis", "forward site"),
            ("a.test/api", "forward app -/api"),
            ("a.test/api/x", "forward app -/api"),
            ("a.test/api/v2", "forward app2 +/v2"),
            ("a.test/api/v2/x", "forward app2 +/v2"),
            ("a.test/api/v20", "forward app -/api"),
            ("a.test/old", "301 /new"),
            ("a.test/old/x?y=z", "301 /new/x?y=z"),
            ("a.test/older", "forward site"),
            ("a.test/away/x", "308 https://example.org/x"),
            ("a.test/private/x", "403: by its route"),
        ] {
            check(&[("a.test.toml", EXAMPLE)], url, expect);
        }
    }

    #[test]
    fn the_nearest_file_decides() {
        let files = &[
            ("a.example.org.toml", "upstream = 'own'"),
            ("*.example.org.toml", "upstream = 'wildcard'"),
            ("_.toml", "upstream = 'any'"),
        ];
        for (url, expect) in [
            ("a.example.org/", "forward own"),
            ("b.example.org/", "forward wildcard"),
            ("c.b.example.org/", "forward any"),
            ("example.org/", "forward any"),
            ("[::1]/", "forward any"),
        ] {
            check(files, url, expect);
        }
        check(&files[..2], "example.org/", "404: no route file for this name");
        check(
            &[("a.test.toml", "[[path]]\nprefix = '/a'\nrefuse = 410")],
            "a.test/b",
            "404: a.test.toml has no route for this path",
        );
    }

    #[test]
    fn fields_are_changed_in_order_the_names_before_the_paths() {
        let file = r#"
            upstream = "site"
            [request]
            set = { X-A = "1" }
            [response]
            remove = ["Server"]
            [[path]]
            prefix = "/api"
            upstream = "app"
            request.add.X-B = ["2", "3"]
            request.remove = ["Cookie"]
            response.set.X-C = "4"
        "#;
        check(&[("a.test.toml", file)], "a.test/", r#"forward site >Set("X-A", "1") <Remove("Server")"#);
        check(
            &[("a.test.toml", file)],
            "a.test/api",
            "forward app >Set(\"X-A\", \"1\") >Remove(\"Cookie\") >Add(\"X-B\", \"2\") >Add(\"X-B\", \"3\") \
             <Remove(\"Server\") <Set(\"X-C\", \"4\")",
        );
    }

    #[test]
    fn a_redirect_never_names_another_host() {
        let file = "[[path]]\nprefix = '/old'\nredirect = { to = '/' }";
        check(&[("a.test.toml", file)], "a.test/old//evil.test", "308 /evil.test");
        check(&[("a.test.toml", file)], "a.test/old/\\evil.test", "308 /evil.test");
        let whole = "redirect = { to = 'https://b.test', status = 302 }";
        check(&[("a.test.toml", whole)], "a.test/x/y?z", "302 https://b.test/x/y?z");
    }

    #[test]
    fn only_what_matters_is_asked() {
        for (url, files, head) in [
            (
                "a.test/api/x",
                &["contents a.test.toml"][..],
                &["authority", "under /private", "under /api/v2", "under /away", "under /api"][..],
            ),
            (
                "a.test/x",
                &["contents a.test.toml"],
                &["authority", "under /private", "under /api/v2", "under /away", "under /api", "under /old"],
            ),
            ("b.test/", &["contents b.test.toml", "contents *.test.toml", "contents _.toml", "root"], &["authority"]),
        ] {
            let (tree, request) = (branch(&[("a.test.toml", EXAMPLE)]), request(url));
            decide(&tree, &request, || unreachable!("there are routes"));
            assert_eq!(*tree.asked.borrow(), files);
            assert_eq!(*request.asked.borrow(), head);
        }
    }

    #[test]
    fn without_routes_everything_goes_to_the_one_service() {
        let none = "404: there are no routes, and not one service that everything could go to";
        for (names, expect) in [
            (&["hello!"][..], "forward hello"),
            (&["hello!", "app"], "forward hello"),
            (&["blog!", "site!"], "forward site"),
            (&["blog!", "hello!"], none),
            (&["blog!", "hello!", "site"], none),
            (&["app"], none),
            (&[], none),
        ] {
            for tree in [branch(&[]), Branch { without_a_commit: true, ..Branch::default() }] {
                assert_eq!(line(&decide(&tree, &request("a.test/"), || upstreams(names))), expect, "{names:?}");
            }
        }
    }

    #[test]
    fn a_broken_file_refuses_its_own_name_alone() {
        for (text, expect) in [
            ("upstream = ", "500: a.test.toml is broken: string values must be quoted, expected literal string"),
            ("upsteam = 'site'", "500: a.test.toml is broken: unknown key `upsteam`; did you mean `upstream`?"),
            (
                "",
                "500: a.test.toml is broken: decides nothing: it needs `upstream`, `redirect`, `refuse` or a `[[path]]`",
            ),
        ] {
            check(&[("a.test.toml", text), ("_.toml", "upstream = 'site'")], "a.test/", expect);
            check(&[("a.test.toml", text), ("_.toml", "upstream = 'site'")], "b.test/", "forward site");
        }
        let mut tree = branch(&[("_.toml", "upstream = 'site'")]);
        tree.files.push(("a.test.toml", b"\xff".to_vec()));
        tree.faults.push(("b.test.toml", Fault::Other("larger than 1 MiB".into())));
        for (url, expect) in
            [("a.test/", "500: a.test.toml is not UTF-8"), ("b.test/", "500: b.test.toml: larger than 1 MiB")]
        {
            assert_eq!(line(&decide(&tree, &request(url), Vec::new)), expect);
        }
    }
}
