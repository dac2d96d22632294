//! The component: the host's interfaces on one side, plain Rust on the other. Nothing else touches bindings.
#![expect(unsafe_code, reason = "generated bindings of the canonical ABI, and a static for one thread")]

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::OnceCell;

// The allocator and the panic handler.
use bare as _;
use wit_bindgen::StreamResult;

use crate::answer::{self, Answer, Body};
use crate::site::Site;
use crate::tree::{self, Fault, Tree};
use crate::validate;

use self::bindings::atoll::host::repository::{Branch, Error, Kind};
use self::bindings::exports::atoll::host::validation;
use self::bindings::exports::wasi::http::handler;
use self::bindings::wasi::cli::stderr;
use self::bindings::wasi::http::types::{ErrorCode, Fields, Method, Request, Response};
use self::bindings::{wit_future, wit_stream};

#[allow(clippy::pedantic, unreachable_pub, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package atoll:components;
            world site {
                include atoll:host/site@0.1.0;
                include atoll:host/validated@0.1.0;
            }
        ",
        world: "atoll:components/site",
        generate_all,
    });
}

struct Component;

bindings::export!(Component with_types_in bindings);

/// Opened with the first request, and kept: an instance lives within one generation, in which the branch stands still.
struct Kept(OnceCell<Result<Site<Branch>, String>>);

// SAFETY: an instance of a component has one thread.
unsafe impl Sync for Kept {}

static SITE: Kept = Kept(OnceCell::new());

impl handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let site = match SITE.0.get() {
            Some(site) => site,
            None => {
                let opened = open().await;
                SITE.0.get_or_init(|| opened)
            }
        };
        let answer = match site {
            Ok(site) => {
                let method = match request.get_method() {
                    Method::Get => "GET",
                    Method::Head => "HEAD",
                    _ => "",
                };
                let target = request.get_path_with_query();
                let authority = request.get_authority();
                site.answer(method, target.as_deref().unwrap_or("/"), authority.as_deref().unwrap_or("")).await
            }
            Err(words) => answer::failed(words),
        };
        let (response, log) = respond(site.as_ref().ok().map(Site::tree), answer);
        if let Some(line) = log {
            write_log(line).await;
        }
        response
    }
}

impl validation::Guest for Component {
    fn validate() -> Vec<validation::Problem> {
        let branch = match Branch::open("pages") {
            Ok(branch) => branch,
            Err(error) => return vec![validation::Problem { file: None, line: None, message: words_for_open(error) }],
        };
        let problem = |(file, problem): (&str, crate::problem::Problem)| validation::Problem {
            file: Some(file.to_owned()),
            line: problem.line,
            message: problem.message,
        };
        validate::validate(&branch).into_iter().map(problem).collect()
    }
}

async fn open() -> Result<Site<Branch>, String> {
    let branch = Branch::open("pages").map_err(words_for_open)?;
    let committed = (!branch.revision().is_empty()).then(|| branch.committed());
    Site::open(branch, committed).await
}

/// The response for `answer`, and a line for the log.
fn respond(branch: Option<&Branch>, answer: Answer) -> (Result<Response, ErrorCode>, Option<String>) {
    let contents = match (&answer.body, branch) {
        // Without a branch, no answer is made of one.
        (Body::Empty, _) | (Body::File(_), None) => None,
        (Body::Text(text), _) => Some(stream_of(text)),
        (Body::File(path), Some(branch)) => match branch.read(path) {
            // How it ended is the host's to see, as it makes the bytes: it never lets a cut one look whole.
            Ok((contents, _)) => Some(contents),
            Err(error) => {
                let words = match Fault::from(error) {
                    Fault::NotFound => format!("{}: gone while it was looked at", path.escape_debug()),
                    Fault::Other(words) => format!("{}: {words}", path.escape_debug()),
                };
                return respond(None, answer::failed(&words));
            }
        },
    };
    let fields = match Fields::from_list(&answer.fields.into_vec()) {
        Ok(fields) => fields,
        Err(error) => return (Err(ErrorCode::InternalError(Some(format!("{error}")))), answer.log),
    };
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(fields, contents, trailers);
    // Only now, so that it is at once known whether anybody wants to hear it.
    drop(no_trailers);
    if answer.status != 200 && response.set_status_code(answer.status).is_err() {
        return (Err(ErrorCode::InternalError(None)), answer.log);
    }
    (Ok(response), answer.log)
}

/// A body of the guest's own, written while the host reads it.
fn stream_of(text: &'static str) -> wit_bindgen::StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        // A client that went away wants no more of it.
        let _ = writer.write_all(text.as_bytes().to_vec()).await;
    });
    reader
}

async fn write_log(mut line: String) {
    line.push('\n');
    let (mut writer, reader) = wit_stream::new();
    let written = stderr::write_via_stream(reader);
    // A log that can't be written to is no reason not to answer.
    let _ = writer.write_all(line.into_bytes()).await;
    drop(writer);
    let _ = written.await;
}

impl Tree for Branch {
    fn entry(&self, path: &str) -> Result<tree::Entry, Fault> {
        let entry = self.entry(path)?;
        let kind = match entry.kind {
            Kind::File | Kind::Executable => tree::Kind::File,
            Kind::Symlink => tree::Kind::Symlink,
            Kind::Directory => tree::Kind::Directory,
            Kind::Submodule => tree::Kind::Submodule,
        };
        Ok(tree::Entry { kind, id: entry.id })
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        Ok(self.size(path)?)
    }

    fn contents(&self, path: &str) -> Result<Vec<u8>, Fault> {
        Ok(self.contents(path)?)
    }

    async fn beginning(&self, path: &str, length: usize) -> Result<Vec<u8>, Fault> {
        let (mut contents, end) = self.read(path)?;
        let mut beginning = Vec::with_capacity(length);
        // It is read into what room is left.
        while beginning.len() < length {
            let (status, read) = contents.read(beginning).await;
            beginning = read;
            if !matches!(status, StreamResult::Complete(_)) {
                end.await?;
                break;
            }
        }
        Ok(beginning)
    }
}

fn words_for_open(error: Error) -> String {
    match error {
        Error::Denied => {
            "the binding `pages` is not granted: `git = { pages = \"read\" }` in this component's table".to_owned()
        }
        error => match Fault::from(error) {
            Fault::NotFound => "the binding `pages` is not there".to_owned(),
            Fault::Other(words) => words,
        },
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(match error {
            Error::NotFound => return Self::NotFound,
            Error::Denied => "denied".to_owned(),
            Error::TooLarge => "too large".to_owned(),
            Error::Corrupt(words) | Error::Other(words) => words,
        })
    }
}
