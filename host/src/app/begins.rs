//! What a reload may have a component begin to read. What serves goes on to read what it did, whatever becomes of that; what
//! it would begin with has to be there.

use std::sync::Arc;

use atoll_git::Standing;
use atoll_runtime::Role;

use super::{
    bindings::Bindings,
    host::{Codes, Components, Elsewhere},
    running::{self, Running},
};
use crate::{
    manifest::{Component, Grant, Manifest, Mode, Name},
    problem::Problem,
};

/// Each branch that a component of `manifest` may not begin to read now. `bindings` are those of the manifest; `elsewhere` are
/// the ones among them that are followed anew after this.
pub(super) fn refused(
    running: &Components,
    manifest: &Manifest,
    codes: &Codes,
    bindings: &Bindings,
    elsewhere: &[Elsewhere],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for said in manifest.components.values() {
        let router = codes.get(&said.name).is_some_and(|code| code.surface().role == Some(Role::Router));
        let before = before(running, said, router).map(|before| &**before);
        for (known, grant) in &said.git {
            let Some(binding) = bindings.get(&grant.from) else { continue };
            let anew = elsewhere.iter().find(|(moved, _)| moved.name == grant.from);
            let mut standing = binding.standing();
            let from = if standing.origin.is_empty() { binding.identity() } else { &standing.origin };
            let moves = *from != anew.map_or_else(|| binding.identity().to_owned(), |(_, remote)| remote.identity());
            if grant.mode == Mode::Write && !router && binding.lacks_its_branch() {
                // Who writes begins it.
                binding.identity().clone_into(&mut standing.origin);
            }
            let Some(refusal) = refusal(&Reader::of(&said.name, router, before, known, grant), &standing, moves) else {
                continue;
            };
            let place = anew.map_or(&binding.said().place, |(said, _)| &said.place);
            let (of, by) = (&grant.from, &said.name);
            let waits =
                || binding.error().unwrap_or_else(|| "it has not answered yet: reload without that first".into());
            problems.push(place.problem(match refusal {
                Refusal::Moves if anew.is_some() => {
                    format!("[git.{of}]: has another remote now: reload with that alone, before {by} is to read it")
                }
                Refusal::Moves => {
                    format!("[git.{of}]: what is here came from another remote, and {by} is to read it: {}", waits())
                }
                Refusal::Empty => format!(
                    "[git.{of}]: has no commit yet, and {by} is to read it in place of one that has: push to it first"
                ),
                Refusal::Unknown => format!("[git.{of}]: can't be fetched, and {by} is to read it: {}", waits()),
            }));
        }
    }
    problems
}

/// Whose place it takes: of a router, that of whoever decides now.
fn before<'a>(running: &'a Components, said: &Component, router: bool) -> Option<&'a Arc<Running>> {
    if router { running::router(running) } else { running.get(&said.name).filter(|running| !running.is_router()) }
}

/// Who would read a branch by some name.
struct Reader {
    router: bool,
    before: Before,
    reads: Reads,
}

/// The one whose place it takes.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nobody,
    /// It serves nothing, or does not know yet what its branches say.
    Idle,
    Serves {
        /// By what has a commit, as far as this name goes.
        born: bool,
    },
}

/// Whether the one before reads the same binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    No,
    /// By the same name, and in the same slot.
    So,
    /// By another name, or in another slot.
    Otherwise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It would be given what came from the former remote.
    Moves,
    /// It would lose what it serves by.
    Empty,
    /// It would serve no more.
    Unknown,
}

impl Reader {
    fn of(by: &Name, router: bool, before: Option<&Running>, known: &Name, grant: &Grant) -> Self {
        let reads = before.map_or(Reads::No, |before| {
            let of = |(_, other): (&Name, &Grant)| other.from == grant.from;
            match before.said.git.get(known) {
                Some(other) if other.from == grant.from && before.said.name == *by => Reads::So,
                _ if before.said.git.iter().any(of) => Reads::Otherwise,
                _ => Reads::No,
            }
        });
        let serving = before.and_then(|before| before.slot.serving());
        let before = match (before, serving.filter(|serving| serving.knows_its_branches())) {
            (None, _) => Before::Nobody,
            (Some(_), None) => Before::Idle,
            (Some(_), Some(serving)) => {
                Before::Serves { born: serving.revisions().get(&**known).is_some_and(|revision| !revision.is_empty()) }
            }
        };
        Self { router, before, reads }
    }
}

/// Why it may not; `moves` where the branch comes from another remote from now on, of which nothing is here.
fn refusal(reader: &Reader, standing: &Standing, moves: bool) -> Option<Refusal> {
    let Reader { router, before, reads } = *reader;
    match before {
        _ if moves && reads == Reads::No => Some(Refusal::Moves),
        _ if standing.head.is_some() || reads == Reads::So => None,
        Before::Serves { born: true } if standing.is_known() => Some(Refusal::Empty),
        Before::Serves { .. } if !standing.is_known() => Some(Refusal::Unknown),
        // Where there was no router, whoever served all would be reached by nobody.
        Before::Nobody if router && !standing.is_known() => Some(Refusal::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use atoll_git::{ObjectId, Revision};

    use super::*;

    #[test]
    fn what_serves_begins_with_what_is_there() {
        let id = ObjectId::from_str("4b825dc642cb6eb9a060e54bf8d69288fbee4904").expect("it is one");
        let (unknown, here) = (Standing::default(), "/srv/x.git\n");
        let empty = Standing { head: None, origin: here.to_owned() };
        let born = Standing { head: Some(Revision { id, tree: id, committed: 0 }), origin: here.to_owned() };
        let serves = |born| Before::Serves { born };
        let (no, so, other) = (Reads::No, Reads::So, Reads::Otherwise);
        let (all, none) = ([true, false], None::<Refusal>);
        for (routers, before, reads, standings) in [
            // Whether it is a router, whose place it takes, whether that reads the branch; what then of a branch that is
            // unknown, that is empty, and that has a commit.
            (&all[..], serves(true), no, [Some(Refusal::Unknown), Some(Refusal::Empty), none]),
            (&all, serves(true), other, [Some(Refusal::Unknown), Some(Refusal::Empty), none]),
            (&all, serves(true), so, [none, none, none]),
            (&all, serves(false), no, [Some(Refusal::Unknown), none, none]),
            (&all, serves(false), so, [none, none, none]),
            (&all, Before::Idle, no, [none, none, none]),
            (&all, Before::Idle, so, [none, none, none]),
            (&[true], Before::Nobody, no, [Some(Refusal::Unknown), none, none]),
            (&[false], Before::Nobody, no, [none, none, none]),
        ] {
            for router in routers {
                let reader = Reader { router: *router, before, reads };
                let all = [&unknown, &empty, &born].map(|standing| refusal(&reader, standing, false));
                assert_eq!(all, standings, "{router} {before:?} {reads:?}");
                let moves = [&unknown, &empty, &born].map(|standing| refusal(&reader, standing, true));
                let standings = if reads == no { [(); 3].map(|()| Some(Refusal::Moves)) } else { standings };
                assert_eq!(moves, standings, "moves: {router} {before:?} {reads:?}");
            }
        }
    }
}
