//! Cases: a component's tests as a TOML file, for authors in any language.
//!
//! ```toml
//! [repository.pages]                            # what a binding holds
//! "index.html" = "<h1>x</h1>"
//! [outbound."https://api.example.org"]          # what a granted origin answers, path by path
//! "/v1" = { status = 200, body = "{}" }
//!
//! [[case]]
//! name    = "the index"
//! request = { path = "/", fields = { accept = "text/html" } }
//! expect  = { status = 200, fields = { content-type = "text/html; charset=utf-8" }, body = "<h1>x</h1>" }
//! ```
//!
//! Each case has a guest of its own: no case sees what another did. What the file gives to all of them:
//!
//! | table | holds |
//! |---|---|
//! | `clock` | the time of day, in seconds since the Unix epoch, at which the clock stands (1700000000) |
//! | `[env]` | environment variables |
//! | `[repository.NAME]` | a binding's files, by path: the text, or `{ text, executable = true }`, `{ file }` (a file beside this one), `{ symlink }` (its target), `{ submodule }` (a commit's id). A component that imports `publication` may write to all of them |
//! | `[commit.NAME]` | of a binding: `revision` (follows from the files; `""` for a branch without a commit), `committed` (seconds since the Unix epoch) |
//! | `[outbound."ORIGIN"]` | a granted origin's answers, by path, or by path and query: `{ status = 200, fields, body }`. All else is denied |
//! | `[upstreams]` | what a router may name: `NAME = "component"` or `NAME = "url"`. What a case expects it to forward to is there by itself, as a component |
//!
//! A `[[case]]` has a `name`, one question, what to `expect`, and may have `repository` tables of its own, each in place of
//! the file's for that binding. The questions:
//!
//! | key | asks |
//! |---|---|
//! | `request` | a router or a service: `path` (with its query), `method` (GET), `scheme` (https), `authority` (localhost), `fields`, `body`, `client` (127.0.0.1) |
//! | `tick` | an agent, at this time |
//! | `validate = true` | any component that exports `validation` |
//!
//! In `fields` a value is a text, or a list of them for a field that is there several times. What can be expected, all of it
//! optional; what is not mentioned is not looked at:
//!
//! | key | of | holds when |
//! |---|---|---|
//! | `status` | a response | it is this |
//! | `fields` | a response | each has just this value, or these; `false`: it is not there |
//! | `body`, `body-contains` | a response | the whole body is this; this is in it |
//! | `marked` | a response | whether the instance has used a clock, randomness or the network: such an answer may be remembered by its age alone |
//! | `forward` | a decision | this is the upstream, and `strip` and `add` are what is said beside it, or nothing |
//! | `request`, `response` | a decision | the changes to fields are these: tables `set` and `add`, a list `remove` |
//! | `redirect` | a decision | `{ status, location }`, either may be left out |
//! | `refuse` | a decision | it refuses with this status |
//! | `next` | a tick | it wants to be woken then; `false`: not at a time |
//! | `problems` | a validation | there are as many, and each holds the text beside it (`FILE:LINE: message`); `[]`: nothing is wrong |
//! | `sent` | a request, a tick | just these requests went out, as `METHOD URL` |
//! | `published` | a request, a tick | the last commit to each binding has these files: `{ BINDING = { PATH = "text" } }`; `{}`: nothing was published |
//! | `log` | all | a line holds this text, or a line for each; `[]`: nothing was said |
//! | `failure` | all | there was no answer, or its body broke off, for a reason that holds this text |

mod check;
mod expect;
mod parse;
mod reader;
mod report;

use std::{path::Path, time::Instant};

use crate::Component;

pub use reader::Mistake;
pub use report::{Difference, Outcome, Report};

/// Runs the cases in `text` against a component. `path` is where they were read: it names them in messages, and files that
/// they name lie beside it.
///
/// # Errors
/// The text is not what it should be. That a component can't be linked to what a case gives it, or answers otherwise, is in
/// the report.
pub fn run(component: &Component, text: &str, path: &Path) -> Result<Report, Mistake> {
    let cases = parse::parse(component, text, path)?;
    let outcomes = cases.into_iter().map(|case| {
        let start = Instant::now();
        let (differences, log) = match component.given(case.world) {
            Ok(guest) => {
                let differences = check::ask(&guest, &case.question, &case.expect);
                (differences, guest.log())
            }
            Err(error) => (vec![Difference::new("answer", "one", &error.to_string())], Vec::new()),
        };
        Outcome { name: case.name, line: case.line, took: start.elapsed(), differences, log }
    });
    let outcomes = outcomes.collect();
    Ok(Report { component: component.name().into(), outcomes })
}
