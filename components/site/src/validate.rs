//! Checks `_headers` and `_redirects` before their generation serves.

use alloc::vec;
use alloc::vec::Vec;

use crate::problem::Problem;
use crate::rules;
use crate::rules::headers::Headers;
use crate::rules::redirects::Redirects;
use crate::tree::Tree;

/// Each problem with the file that it is in.
pub(crate) fn validate(tree: &impl Tree) -> Vec<(&'static str, Problem)> {
    let mut problems = check(tree, "_headers", |text| Headers::parse(text).1);
    problems.extend(check(tree, "_redirects", |text| Redirects::parse(text).1));
    problems
}

fn check(tree: &impl Tree, name: &'static str, parse: fn(&str) -> Vec<Problem>) -> Vec<(&'static str, Problem)> {
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
