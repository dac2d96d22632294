//! Asks a guest, and holds what it says against what is expected.

use atoll_runtime::{Decision, FieldChange, Forwarding};

use super::{
    expect::{Changes, Expect, ExpectDecision, ExpectResponse},
    parse::Question,
    report::Difference,
};
use crate::{Commit, Error, Guest, Reply};

/// The differences, in words; none where all is as expected.
pub(super) fn ask(guest: &Guest, question: &Question, expect: &Expect) -> Vec<Difference> {
    let mut found = Vec::new();
    let failure = match question {
        Question::Request(request) if guest.is_router() => match guest.route(request) {
            Ok(decision) => {
                compare_decision(&decision, expect.decision.as_ref(), &mut found);
                None
            }
            Err(error) => Some(error.to_string()),
        },
        Question::Request(request) => match guest.handle(request) {
            Ok(reply) => {
                compare_reply(&reply, &expect.response, &mut found);
                reply.broke_off.map(|words| format!("the body broke off after {} bytes: {words}", reply.body.len()))
            }
            Err(error) => Some(error.to_string()),
        },
        Question::Tick(now) => failed(guest.tick(*now), |next| {
            let words = |next: Option<u64>| next.map_or("not at a time".into(), |next| next.to_string());
            if let Some(expected) = expect.next.filter(|expected| *expected != next) {
                found.push(Difference::new("next", &words(expected), &words(next)));
            }
        }),
        Question::Validate => failed(guest.validate(), |problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            if let Some(expected) = &expect.problems {
                compare_problems(expected, &problems, &mut found);
            }
        }),
    };
    match (&expect.failure, failure) {
        (None, None) => {}
        (Some(expected), Some(words)) if words.contains(expected.as_str()) => {}
        (Some(expected), got) => {
            let got = got.map_or("an answer".into(), |words| quoted(&words));
            found.push(Difference::new("failure", &format!("one with {}", quoted(expected)), &got));
        }
        (None, Some(words)) => found.push(Difference::new("answer", "one", &words)),
    }
    if let Some(expected) = &expect.sent {
        let sent: Vec<String> = guest.sent().iter().map(|sent| format!("{} {}", sent.method, sent.uri)).collect();
        same("sent", &list(expected), &list(&sent), &mut found);
    }
    if let Some(expected) = &expect.published {
        compare_published(expected, &guest.published(), &mut found);
    }
    if let Some(expected) = &expect.log {
        compare_log(expected, &guest.log(), &mut found);
    }
    found
}

fn compare_published(expected: &[(String, Vec<(String, String)>)], got: &[Commit], found: &mut Vec<Difference>) {
    if expected.is_empty() && !got.is_empty() {
        let said: Vec<String> = got.iter().map(|commit| format!("{}: {}", commit.branch, commit.message)).collect();
        found.push(Difference::new("published", "nothing", &list(&said)));
    }
    for (binding, files) in expected {
        let Some(commit) = got.iter().rfind(|commit| commit.branch == *binding) else {
            found.push(Difference::new(&format!("published.{binding}"), "a commit", "none"));
            continue;
        };
        for (path, text) in files {
            let got = commit.text(path).map_or_else(|| "no such file".to_owned(), |text| quoted(&text));
            same(&format!("published.{binding}.\"{path}\""), &quoted(text), &got, found);
        }
    }
}

fn failed<T>(answer: Result<T, Error>, compare: impl FnOnce(T)) -> Option<String> {
    match answer {
        Ok(answer) => {
            compare(answer);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

fn same(what: &str, expected: &str, got: &str, found: &mut Vec<Difference>) {
    if expected != got {
        found.push(Difference::new(what, expected, got));
    }
}

fn compare_reply(reply: &Reply, expect: &ExpectResponse, found: &mut Vec<Difference>) {
    if let Some(status) = expect.status {
        same("status", &status.to_string(), reply.status.as_str(), found);
    }
    for (name, expected) in &expect.fields {
        let values: Vec<String> = reply
            .fields
            .get_all(name.as_str())
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        same(&format!("field {name}"), &list(expected), &list(&values), found);
    }
    let body = reply.text();
    if let Some(expected) = expect.body.as_ref().filter(|expected| expected.as_bytes() != &*reply.body) {
        let (expected, got) = apart(expected, &body);
        found.push(Difference::new("body", &expected, &got));
    }
    for expected in expect.body_contains.iter().filter(|expected| !body.contains(expected.as_str())) {
        found.push(Difference::new("body", &format!("{} in it", quoted(expected)), &quoted(&body)));
    }
    if let Some(expected) = expect.marked {
        same("marked", &expected.to_string(), &reply.marked.to_string(), found);
    }
}

fn compare_decision(decision: &Decision, expect: Option<&ExpectDecision>, found: &mut Vec<Difference>) {
    let mut other = |expected: String| found.push(Difference::new("decision", &expected, &words(decision)));
    match (expect, decision) {
        (None, _) => {}
        (Some(ExpectDecision::Forward { upstream, strip, add, request, response }), Decision::Forward(to)) => {
            same("forward", &quoted(upstream), &quoted(&to.upstream), found);
            same("strip", &optional(strip.as_deref()), &optional(to.strip.as_deref()), found);
            same("add", &optional(add.as_deref()), &optional(to.add.as_deref()), found);
            for (what, expected, got) in
                [("request", request, &to.request_fields), ("response", response, &to.response_fields)]
            {
                if let Some(expected) = expected {
                    same(what, &list(expected), &list(&changes(got)), found);
                }
            }
        }
        (Some(ExpectDecision::Redirect { status, location }), Decision::Redirect { status: got, location: to }) => {
            if let Some(status) = status {
                same("status", &status.to_string(), got.as_str(), found);
            }
            if let Some(location) = location {
                same("location", &quoted(location), &quoted(&String::from_utf8_lossy(to.as_bytes())), found);
            }
        }
        (Some(ExpectDecision::Refuse(status)), Decision::Refuse { status: got, .. })
            if u64::from(got.as_u16()) == *status => {}
        (Some(ExpectDecision::Forward { upstream, .. }), _) => other(format!("forward to {}", quoted(upstream))),
        (Some(ExpectDecision::Redirect { location: None, .. }), _) => other("a redirect".into()),
        (Some(ExpectDecision::Redirect { location: Some(to), .. }), _) => other(format!("redirect to {}", quoted(to))),
        (Some(ExpectDecision::Refuse(status)), _) => other(format!("refuse with {status}")),
    }
}

/// A decision in words.
fn words(decision: &Decision) -> String {
    match decision {
        Decision::Forward(Forwarding { upstream, strip, add, .. }) => {
            let part = |what: &str, prefix: &Option<String>| {
                prefix.as_ref().map_or(String::new(), |prefix| format!(", {what} {}", quoted(prefix)))
            };
            format!("forward to {}{}{}", quoted(upstream), part("strip", strip), part("add", add))
        }
        Decision::Redirect { status, location } => {
            format!("redirect to {} with {}", quoted(&String::from_utf8_lossy(location.as_bytes())), status.as_u16())
        }
        Decision::Refuse { status, reason } => format!("refuse with {}: {reason}", status.as_u16()),
    }
}

fn changes(changes: &[FieldChange]) -> Changes {
    let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut words: Vec<_> = changes
        .iter()
        .map(|change| match change {
            FieldChange::Set(name, to) => format!("set {name}: {}", value(to)),
            FieldChange::Add(name, more) => format!("add {name}: {}", value(more)),
            FieldChange::Remove(name) => format!("remove {name}"),
        })
        .collect();
    words.sort_unstable();
    words
}

fn compare_problems(expected: &[String], problems: &[String], found: &mut Vec<Difference>) {
    if expected.len() != problems.len() {
        found.push(Difference::new("problems", &list(expected), &list(problems)));
        return;
    }
    for (expected, got) in expected.iter().zip(problems).filter(|(expected, got)| !got.contains(expected.as_str())) {
        found.push(Difference::new("problem", &format!("{} in it", quoted(expected)), &quoted(got)));
    }
}

fn compare_log(expected: &[String], log: &[String], found: &mut Vec<Difference>) {
    if expected.is_empty() {
        same("log", "nothing", &list(log), found);
    }
    for expected in expected.iter().filter(|expected| !log.iter().any(|line| line.contains(expected.as_str()))) {
        found.push(Difference::new("log", &format!("a line with {}", quoted(expected)), &list(log)));
    }
}

/// Where two texts begin to differ, with a little of what is before it.
fn apart(expected: &str, got: &str) -> (String, String) {
    const BEFORE: usize = 40;
    let common = expected.char_indices().zip(got.chars()).find(|((_, one), other)| one != other).map(|((at, _), _)| at);
    let common = common.unwrap_or(expected.len().min(got.len()));
    let mut start = common.saturating_sub(BEFORE);
    while !expected.is_char_boundary(start) {
        start -= 1;
    }
    let part = |text: &str| match start {
        0 => quoted(text),
        start => format!("… {}", quoted(&text[start..])),
    };
    (part(expected), part(got))
}

fn optional(text: Option<&str>) -> String {
    text.map_or("nothing".into(), quoted)
}

fn list(texts: &[String]) -> String {
    match texts {
        [] => "nothing".into(),
        texts => texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "),
    }
}

/// A text as it would stand in TOML, cut where it is long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}\" … ({} bytes)", text[..end].escape_debug(), text.len()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}
