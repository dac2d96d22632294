//! Checks `_headers` and `_redirects` before their generation serves.

use alloc::vec;
use alloc::vec::Vec;

use crate::locate::{self, Located};
use crate::problem::{Problem, Problems};
use crate::rules;
use crate::rules::headers::Headers;
use crate::rules::redirects::Redirects;
use crate::tree::Tree;

/// Each problem with the file that it is in.
pub(crate) fn validate(tree: &impl Tree) -> Vec<(&'static str, Problem)> {
    let mut problems = check(tree, "_headers", |text| Headers::parse(text).1);
    problems.extend(check(tree, "_redirects", |text| {
        let (redirects, problems) = Redirects::parse(text);
        let mut all = Problems::from(problems);
        let adds_slash = |path: &str| matches!(locate::locate(tree, path, false), Ok(Located::Directory));
        redirects
            .endless(adds_slash)
            .for_each(|line| all.add(line, "from there a client is redirected again, without end"));
        let mut all = all.into_vec();
        all.sort_by_key(|problem| problem.line.unwrap_or(u32::MAX));
        all
    }));
    problems
}

fn check(tree: &impl Tree, name: &'static str, parse: impl Fn(&str) -> Vec<Problem>) -> Vec<(&'static str, Problem)> {
    let problems = match rules::text(tree, name) {
        Ok(Some(text)) => parse(&text),
        Ok(None) => Vec::new(),
        Err(message) => vec![Problem { line: None, message }],
    };
    problems.into_iter().map(|problem| (name, problem)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Fault;
    use crate::tree::memory::{Branch, tree};

    fn lines(branch: &Branch) -> Vec<String> {
        let line = |problem: Problem| problem.line.map_or(String::new(), |line| format!("{line}:"));
        validate(branch)
            .into_iter()
            .map(|(file, problem)| format!("{file}:{} {}", line(problem.clone()), problem.message))
            .collect()
    }

    #[test]
    fn redirects_that_go_round_are_found() {
        let round = "_redirects:1: from there a client is redirected again, without end";
        for (rules, expect) in [
            ("/a /a?b=c#d 308", &[round][..]),
            ("/a /a", &[round]),
            ("/* /index.html 302", &[round]),
            ("/x/* /x/:splat 301", &[round]),
            ("/x/* /x/more/:splat 301", &[round]),
            ("/%61 /a", &[round]),
            ("/é /%C3%A9", &[round]),
            ("/:a/:b /:b/:a", &[round]),
            // Alone with the directory that is there: its address gets the slash again.
            ("/dir/ /dir 301", &[round]),
            ("/a /b/../a", &[round]),
            ("/a /%2e/./b/%2E%2E/a", &[round]),
            ("/a/ /b/..//../a/.", &[round]),
            ("/a /b/../a/.", &[]),
            ("/none/ /none 301", &[]),
            ("/page/ /page 301", &[]),
            ("/a /b\n/b /a", &[round, "_redirects:2: from there a client is redirected again, without end"]),
            ("/a /b\n/b /c 200\n/c /a", &[]),
            ("/a/* /:splat", &[]),
            ("/a https://b.test/a", &[]),
        ] {
            let tree =
                tree(&[("dir/index.html", "x"), ("page.html", "x"), ("page/index.html", "x"), ("_redirects", rules)]);
            assert_eq!(lines(&tree), expect, "{rules}");
        }
    }

    #[test]
    fn broken_lines_are_found_in_both_files() {
        assert_eq!(lines(&tree(&[("index.html", "x")])), [""; 0]);
        assert_eq!(
            lines(&tree(&[
                ("_headers", "/a\n X-A: b\n Vary: c"),
                ("_redirects", "-> rules.txt"),
                ("rules.txt", "/a /b 301\n/c")
            ])),
            [
                "_headers:3: `Vary` is the host's own, and can't be changed here",
                "_redirects:2: a line is `SOURCE DESTINATION [STATUS]`",
            ]
        );
        let mut branch = tree(&[("_headers/x", "")]);
        branch.put("_redirects", b"/a /b\n\xff".to_vec());
        assert_eq!(lines(&branch), ["_headers: not a file", "_redirects: not UTF-8"]);
        branch.faults.push(("_redirects", Fault::Other("larger than 1 MiB".into())));
        assert_eq!(lines(&branch), ["_headers: not a file", "_redirects: larger than 1 MiB"]);
    }
}
