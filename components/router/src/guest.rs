//! The component: the host's interfaces on one side, plain Rust on the other. Nothing else touches bindings.
#![expect(unsafe_code, reason = "generated bindings of the canonical ABI")]

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

// The allocator and the panic handler.
use bare as _;

use crate::decide::{self, Action, FieldChange};
use crate::tree::{Fault, Head, Tree, Upstream};
use crate::validate;

use self::bindings::atoll::host::repository::{Branch, Error, Kind};
use self::bindings::atoll::host::request_head::Request;
use self::bindings::atoll::host::upstreams;
use self::bindings::exports::atoll::host::{routing, validation};

#[allow(clippy::pedantic, unreachable_pub, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package atoll:components;
            world router {
                include atoll:host/router@0.1.0;
                include atoll:host/validated@0.1.0;
            }
        ",
        world: "atoll:components/router",
        generate_all,
    });
}

struct Router;

bindings::export!(Router with_types_in bindings);

impl routing::Guest for Router {
    fn route(request: &Request) -> routing::Action {
        match Branch::open("routes") {
            Ok(branch) => decide::decide(&branch, request, all_upstreams).into(),
            Err(error) => Action::Refuse { status: 500, reason: words_for_open(error) }.into(),
        }
    }
}

impl validation::Guest for Router {
    fn validate() -> Vec<validation::Problem> {
        let branch = match Branch::open("routes") {
            Ok(branch) => branch,
            Err(error) => return vec![validation::Problem { file: None, line: None, message: words_for_open(error) }],
        };
        validate::validate(&branch, &all_upstreams())
            .into_iter()
            .map(|(file, problem)| validation::Problem { file, line: problem.line, message: problem.message })
            .collect()
    }
}

impl Tree for Branch {
    fn contents(&self, name: &str) -> Result<Vec<u8>, Fault> {
        self.contents(name).map_err(Fault::from)
    }

    fn root(&self) -> Result<Option<String>, Fault> {
        if self.revision().is_empty() {
            return Ok(None);
        }
        Ok(Some(self.entry("")?.id))
    }

    fn children(&self) -> Result<Vec<(String, bool)>, Fault> {
        let regular = |kind| matches!(kind, Kind::File | Kind::Executable);
        Ok(self.children("")?.into_iter().map(|entry| (entry.name, regular(entry.kind))).collect())
    }
}

impl Head for Request {
    fn authority(&self) -> String {
        self.authority()
    }

    fn under(&self, prefix: &str) -> bool {
        self.under(prefix)
    }

    fn path(&self) -> String {
        self.path()
    }

    fn query(&self) -> Option<String> {
        self.query()
    }
}

fn all_upstreams() -> Vec<Upstream> {
    let component = |kind| matches!(kind, upstreams::Kind::Component);
    upstreams::all()
        .into_iter()
        .map(|upstream| Upstream { name: upstream.name, component: component(upstream.kind) })
        .collect()
}

fn words_for_open(error: Error) -> String {
    match error {
        Error::Denied => {
            "the binding `routes` is not granted: `git = { routes = \"read\" }` in this component's table".to_owned()
        }
        error => match Fault::from(error) {
            Fault::NotFound => "the binding `routes` is not there".to_owned(),
            Fault::Other(words) => words,
        },
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(match error {
            Error::NotFound => return Self::NotFound,
            Error::Denied => "denied".to_owned(),
            Error::TooLarge => "larger than 1 MiB".to_owned(),
            Error::Corrupt(words) | Error::Other(words) => words,
        })
    }
}

impl From<Action> for routing::Action {
    fn from(action: Action) -> Self {
        match action {
            Action::Forward { upstream, strip, add, request, response } => Self::Forward(routing::Forwarding {
                upstream,
                strip,
                add,
                request_fields: request.into_iter().map(Into::into).collect(),
                response_fields: response.into_iter().map(Into::into).collect(),
            }),
            Action::Redirect { status, location } => Self::Redirect(routing::Redirection { status, location }),
            Action::Refuse { status, reason } => Self::Refuse(routing::Refusal { status, reason }),
        }
    }
}

impl From<FieldChange> for routing::FieldChange {
    fn from(change: FieldChange) -> Self {
        match change {
            FieldChange::Set(name, value) => Self::Set((name, value)),
            FieldChange::Add(name, value) => Self::Add((name, value)),
            FieldChange::Remove(name) => Self::Remove(name),
        }
    }
}
