//! Checks every route file before its generation serves: the format, the files' names, and the upstreams that they name.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use crate::decide;
use crate::following;
use crate::name;
use crate::nearest;
use crate::problem::{ENOUGH, Problem};
use crate::reader;
use crate::route_file;
use crate::tree::{Fault, Tree, Upstream};

/// Each problem with the file that it is about; none for the branch as a whole.
pub(crate) fn validate(tree: &impl Tree, upstreams: &[Upstream]) -> Vec<(Option<String>, Problem)> {
    let children = match decide::is_empty(tree) {
        // A host without routes is a good one.
        Ok(true) => return Vec::new(),
        Ok(false) => tree.children(),
        Err(fault) => Err(fault),
    };
    let children = match children {
        Ok(children) => children,
        Err(fault) => return vec![(None, about_the_whole(unreadable(&fault)))],
    };
    let mut problems = Vec::new();
    let (mut files, mut left) = (0, following::READ);
    for (file, regular) in children.into_iter().filter(|(file, _)| name::is_route_file(file)) {
        files += 1;
        let found = check_file(tree, &file, regular, upstreams, &mut left);
        problems.extend(found.into_iter().map(|problem| (Some(file.clone()), problem)));
        if problems.len() >= ENOUGH {
            problems.truncate(ENOUGH - 1);
            problems.push((None, about_the_whole(format!("and more than these {}", ENOUGH - 1))));
            break;
        }
    }
    if files == 0 {
        let message = "there are files, but no route file: add `HOSTNAME.toml`, or `_.toml` for every name";
        problems.push((None, about_the_whole(message.into())));
    }
    problems
}

fn check_file(tree: &impl Tree, file: &str, regular: bool, upstreams: &[Upstream], left: &mut u32) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Err(message) = name::check(file) {
        problems.push(about_the_whole(message));
    }
    if !regular {
        problems.push(about_the_whole("a route file is a regular file, and no link or directory".into()));
        return problems;
    }
    match tree.contents(file) {
        Ok(contents) => problems.extend(check_contents(tree, file, &contents, upstreams, left)),
        Err(fault) => problems.push(about_the_whole(unreadable(&fault))),
    }
    problems
}

fn check_contents(
    tree: &impl Tree,
    file: &str,
    contents: &[u8],
    upstreams: &[Upstream],
    left: &mut u32,
) -> Vec<Problem> {
    let text = match core::str::from_utf8(contents) {
        Ok(text) => text,
        Err(error) => {
            let valid = core::str::from_utf8(&contents[..error.valid_up_to()]).unwrap_or("");
            return vec![Problem { line: Some(reader::line(valid, valid.len())), message: "not UTF-8".into() }];
        }
    };
    let document = match reader::parse(text) {
        Ok(document) => document,
        Err(problem) => return vec![problem],
    };
    let (routes, mut problems) = route_file::read(text, &document);
    // What a client is led round by is told of what can be read as a whole.
    if problems.is_empty() {
        let endless = routes.redirects().filter(|(to, _)| following::is_endless(tree, file, &routes, to, left));
        problems.extend(endless.map(|(to, at)| Problem {
            line: Some(reader::line(text, at)),
            message: route_file::quoted("to", to, "from there a client is redirected again, without end"),
        }));
    }
    let unknown = routes.upstreams(text).filter(|(name, _)| upstreams.iter().all(|upstream| upstream.name != *name));
    problems
        .extend(unknown.map(|(name, line)| Problem { line: Some(line), message: unknown_upstream(name, upstreams) }));
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn unknown_upstream(name: &str, upstreams: &[Upstream]) -> String {
    let hint = nearest::hint(name, upstreams.iter().map(|upstream| upstream.name.as_str()));
    format!(
        "no upstream `{}` in the manifest: neither a service component nor an `[upstream.NAME]`{hint}",
        name.escape_debug()
    )
}

fn unreadable(fault: &Fault) -> String {
    match fault {
        Fault::NotFound => "can't be read: not found".to_string(),
        Fault::Other(words) => format!("can't be read: {words}"),
    }
}

fn about_the_whole(message: String) -> Problem {
    Problem { line: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::{Branch, branch, upstreams};

    /// Each problem as `FILE:LINE: MESSAGE`.
    fn lines(tree: &Branch) -> Vec<String> {
        let line = |(file, problem): (Option<String>, Problem)| {
            let file = file.map(|file| format!("{file}:")).unwrap_or_default();
            let line = problem.line.map(|line| format!("{line}:")).unwrap_or_default();
            format!("{file}{line} {}", problem.message)
        };
        validate(tree, &upstreams(&["app", "site!"])).into_iter().map(line).collect()
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let many = |count| format!("upstream = 'site'\n[response]\nremove = [{}]\n", "'A',".repeat(count));
        let status = "a status from 400 to 599";
        let segment = "has an empty segment, `.` or `..`, which no path has when it is compared";
        for (text, expect) in [
            ("upstream = 'site'", &[][..]),
            (&many(64), &[]),
            (&many(65), &["1: more than 64 changes to the fields of one response"]),
            (
                &format!(
                    "[request]\nremove = [{}]\n[[path]]\nprefix = '/a'\nupstream = 'app'\nrequest.set.b = 'c'\n",
                    "'A',".repeat(64)
                ),
                &["5: more than 64 changes to the fields of one request"],
            ),
            ("upstream = 'site'\n[[path]]\nprefix = '/'\nupstream = 'app'", &["4: `/` is decided twice in this file"]),
            ("upstream =\n", &["1: string values must be quoted, expected literal string"]),
            ("a = 1\na = 2", &["2: duplicate key"]),
            ("", &["1: decides nothing: it needs `upstream`, `redirect`, `refuse` or a `[[path]]`"]),
            (
                "upsteam = 'site'",
                &[
                    "1: unknown key `upsteam`; did you mean `upstream`?",
                    "1: decides nothing: it needs `upstream`, `redirect`, `refuse` or a `[[path]]`",
                ],
            ),
            (
                "\nupstream = 'ap'",
                &[
                    "2: no upstream `ap` in the manifest: neither a service component nor an `[upstream.NAME]`; did you mean `app`?",
                ],
            ),
            ("upstream = 1", &["1: `upstream` must be a string"]),
            ("upstream = 'site'\nrefuse = 403", &["2: `upstream` and `refuse` exclude each other"]),
            ("refuse = 200", &[&format!("1: `refuse` is {status}")]),
            ("refuse = 600", &[&format!("1: `refuse` is {status}")]),
            ("refuse = '403'", &[&format!("1: `refuse` is {status}")]),
            ("refuse = 0x193", &[]),
            ("redirect = '/new'", &["1: `redirect` must be a table"]),
            ("redirect = {}", &["1: a `redirect` needs a `to`"]),
            ("redirect = { to = '/x', status = 304 }", &["1: `status` is 301, 302, 303, 307 or 308"]),
            ("redirect = { to = 'https://b.test', code = 301 }", &["1: unknown key `code`"]),
            ("redirect = { to = '//x' }", &["1: `to` is \"//x\": must not begin with `//`, which names a host"]),
            (
                "redirect = { to = \"/x\\r\\nSet-Cookie: y\" }",
                &["1: `to` is \"/x\\r\\nSet-Cookie: y\": must be percent-encoded, as URLs are"],
            ),
            ("refuse = 403\nadd = '/v1'", &["2: `add` goes with `upstream`, not with `refuse`"]),
            ("refuse = 403\nstrip = true", &["2: unknown key `strip`"]),
            ("upstream = 'site'\nadd = 'v1'", &["2: `add` is \"v1\": must begin with `/`"]),
            ("upstream = 'site'\nrequest = 1", &["2: `request` must be a table"]),
            ("upstream = 'site'\n[request]\nset = { 'X A' = 'b' }", &["3: `X A` is not the name of a field"]),
            (
                "upstream = 'site'\n[request]\nset = { Host = 'b' }",
                &["3: `Host` is the host's own, and can't be changed here"],
            ),
            ("upstream = 'site'\n[request]\nset = { X-A = [\"b\"] }", &["3: `X-A` must be a string"]),
            (
                "upstream = 'site'\n[response]\nadd = { X-A = [\"b\", \"c\\n\"] }",
                &["3: a field's value is printable ASCII"],
            ),
            ("upstream = 'site'\n[response]\nremove = 'X-A'", &["3: `remove` is a list of names"]),
            ("upstream = 'site'\n[response]\nremove = [1]", &["3: `remove` must be a string"]),
            ("upstream = 'site'\n[response]\nunset = ['X-A']", &["3: unknown key `unset`; did you mean `set`?"]),
            ("path = 1", &["1: `path` is a list of tables: `[[path]]`"]),
            ("path = [1]", &["1: `path` must be a table"]),
            ("[[path]]\nupstream = 'app'", &["1: a `[[path]]` needs a `prefix`"]),
            ("[[path]]\nprefix = '/a'", &["1: decides nothing: it needs `upstream`, `redirect` or `refuse`"]),
            ("[[path]]\nprefix = '/a/../b'\nupstream = 'app'", &[&format!("2: `prefix` is \"/a/../b\": {segment}")]),
            ("[[path]]\nprefix = '/a'\nupstream = 'app'\nstrip = 1", &["4: `strip` is true or false"]),
            (
                "[[path]]\nprefix = '/a'\nrefuse = 403\nstrip = true",
                &["4: `strip` goes with `upstream`, not with `refuse`"],
            ),
            (
                "[[path]]\nprefix = '/a'\nupstream = 'app'\n[[path]]\nprefix = '/a/'\nupstream = 'site'",
                &["6: `/a` is decided twice in this file"],
            ),
            (
                "[[path]]\nprefix = '/a'\nupstream = 'nobody'\n[[path]]\nprefix = '/b'\nupstrem = 'app'\n",
                &[
                    "3: no upstream `nobody` in the manifest: neither a service component nor an `[upstream.NAME]`",
                    "4: decides nothing: it needs `upstream`, `redirect` or `refuse`",
                    "6: unknown key `upstrem`; did you mean `upstream`?",
                ],
            ),
            // Several at once, from the top down.
            (
                "foo = 1\n[[path]]\nprefix = 'a'\nupstream = 'app'\n[[path]]\nprefix = '/b'\nrefuse = 1\n",
                &[
                    "1: unknown key `foo`",
                    "3: `prefix` is \"a\": must begin with `/`",
                    "7: `refuse` is a status from 400 to 599",
                ],
            ),
        ] {
            let expect: Vec<String> = expect.iter().map(|line| format!("a.test.toml:{line}")).collect();
            assert_eq!(lines(&branch(&[("a.test.toml", text)])), expect, "{text}");
        }
    }

    #[test]
    fn redirects_that_go_round_are_named_with_their_lines() {
        for (text, expect) in [
            (
                "upstream = 'site'\n[[path]]\nprefix = '/l'\nredirect = { to = '/l' }",
                &["4: `to` is \"/l\": from there a client is redirected again, without end"][..],
            ),
            (
                "[[path]]\nprefix = '/l/'\nredirect = { to = '/l/x' }\n[[path]]\nprefix = '/l/x/y'\nupstream = 'app'",
                &["3: `to` is \"/l/x\": from there a client is redirected again, without end"],
            ),
            (
                "[[path]]\nprefix = '/l'\nredirect = { to = '/m/../l/./x/' }",
                &["3: `to` is \"/m/../l/./x/\": from there a client is redirected again, without end"],
            ),
            (
                "redirect = { to = '/new' }",
                &["1: `to` is \"/new\": from there a client is redirected again, without end"],
            ),
            ("[[path]]\nprefix = '/l'\nredirect = { to = '/l/x' }\n[[path]]\nprefix = '/l/x'\nupstream = 'app'", &[]),
            ("redirect = { to = '/new' }\n[[path]]\nprefix = '/new'\nupstream = 'app'", &[]),
            ("[[path]]\nprefix = '/l'\nredirect = { to = '/lx' }", &[]),
            ("[[path]]\nprefix = '/l/x'\nredirect = { to = '/l' }", &[]),
            ("redirect = { to = 'https://b.test' }", &[]),
            (
                "upstream = 'site'\n[[path]]\nprefix = '/l'\nredirect = { to = '/m' }\n[[path]]\nprefix = '/m'\nredirect = { to = '/l' }",
                &[
                    "4: `to` is \"/m\": from there a client is redirected again, without end",
                    "7: `to` is \"/l\": from there a client is redirected again, without end",
                ],
            ),
        ] {
            let expect: Vec<String> = expect.iter().map(|line| format!("a.test.toml:{line}")).collect();
            assert_eq!(lines(&branch(&[("a.test.toml", text)])), expect, "{text}");
        }
    }

    #[test]
    fn names_of_files_are_checked_and_other_files_are_left_alone() {
        let site = "upstream = 'site'";
        let files = [
            ("A.test.toml", site),
            ("README.md", "#"),
            ("_.toml", site),
            ("x y.toml", site),
            (".gitignore", ""),
            ("._b.toml", "\0"),
            (".#a.test.toml", ""),
            (".taplo.toml", "x = 1"),
            (".a.test.toml", site),
        ];
        let mut tree = branch(&files);
        tree.links.push("link.test.toml");
        tree.faults.push(("big.test.toml", Fault::Other("larger than 1 MiB".into())));
        assert_eq!(
            lines(&tree),
            [
                ".a.test.toml: not the form that names are matched in: call it `a.test.toml`",
                "A.test.toml: not the form that names are matched in: call it `a.test.toml`",
                "big.test.toml: can't be read: larger than 1 MiB",
                "link.test.toml: a route file is a regular file, and no link or directory",
                "x y.toml: not a host name: `HOSTNAME.toml`, `*.HOSTNAME.toml` for one label below it, or `_.toml` for any \
                 other name",
            ]
        );
        let mut bytes = branch(&[]);
        bytes.files.push(("a.test.toml", b"a = 1\n\xff".to_vec()));
        assert_eq!(lines(&bytes), ["a.test.toml:2: not UTF-8"]);
    }

    #[test]
    fn an_empty_branch_is_good_and_one_without_a_route_file_is_not() {
        assert_eq!(lines(&branch(&[])), [""; 0]);
        assert_eq!(lines(&Branch { without_a_commit: true, ..Branch::default() }), [""; 0]);
        assert_eq!(
            lines(&branch(&[("README.md", "#")])),
            [" there are files, but no route file: add `HOSTNAME.toml`, or `_.toml` for every name"]
        );
    }

    #[test]
    fn a_name_has_at_most_a_thousand_prefixes() {
        let paths = |count: u32| -> String {
            (0..count).map(|n| format!("[[path]]\nprefix = '/{n}'\nupstream = 'app'\n")).collect::<Vec<_>>().concat()
        };
        assert_eq!(lines(&branch(&[("a.test.toml", &paths(1000))])), [""; 0]);
        assert_eq!(
            lines(&branch(&[("a.test.toml", &paths(1001))])),
            ["a.test.toml:3001: more than 1000 prefixes for one name"]
        );
    }

    #[test]
    fn a_hundred_problems_are_enough() {
        let names: Vec<&'static str> =
            (0..200).map(|n| &*Box::leak(format!("{n:03}.test.toml").into_boxed_str())).collect();
        let tree = branch(&names.iter().map(|name| (*name, "a = 1")).collect::<Vec<_>>());
        let lines = lines(&tree);
        assert_eq!((lines.len(), &*lines[99]), (100, " and more than these 99"));
        assert_eq!(tree.asked.borrow().last().map(String::as_str), Some("contents 049.test.toml"));
    }
}
