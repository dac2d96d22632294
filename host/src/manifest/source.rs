//! A manifest's text: read within a bound, with its lines and what is wrong in it.

use std::{
    cell::RefCell,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::DeTable;

use crate::{
    problem::{Place, Problem},
    text::{printable, quoted},
};

/// More than this is not a manifest.
const LARGEST: u64 = 1 << 20;

/// One file, and what was found in it so far.
pub(super) struct Source {
    name: Arc<str>,
    /// Absolute: what the file names is looked up here.
    directory: PathBuf,
    text: String,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Source {
    /// # Errors
    /// A file that cannot be read, is too large, or is not text.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        let name: Arc<str> = printable(&path.to_string_lossy()).into();
        let place = Place { file: Some(name.clone()), line: None };
        let unreadable = |error: std::io::Error| place.problem(format!("cannot be read: {error}"));

        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST {
            return Err(place.problem("is larger than 1 MiB: not a manifest"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            Place { line: Some(line), ..place.clone() }.problem("is not UTF-8")
        })?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { name, directory, text, problems: RefCell::default(), warnings: RefCell::default() })
    }

    /// The document, as far as it is TOML; none where nothing that follows from it could be trusted.
    pub(super) fn parse(&self) -> Option<DeTable<'_>> {
        let (document, errors) = DeTable::parse_recoverable(&self.text);
        let mut whole = true;
        let mut last = 0;
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = line(&self.text.as_bytes()[..span.start]);
            // What comes after a first mistake on a line follows from it.
            if std::mem::replace(&mut last, line) == line {
                continue;
            }
            if error.message() == "duplicate key" {
                let key = quoted(self.text.get(span.clone()).unwrap_or_default());
                self.report(&span, format!("{key} is here a second time"));
            } else {
                whole = false;
                self.report(&span, printable(error.message()).into_owned());
            }
        }
        whole.then(|| document.into_inner())
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place { file: Some(self.name.clone()), line: Some(line(&self.text.as_bytes()[..span.start])) }
    }

    pub(super) fn report(&self, span: &Range<usize>, message: String) {
        self.add(self.place(span).problem(message));
    }

    /// Something that is taken, and may be regretted.
    pub(super) fn warn(&self, span: &Range<usize>, message: String) {
        self.warnings.borrow_mut().push(self.place(span).problem(message));
    }

    pub(super) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the paths that the file names begin; absolute.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// All that was reported, and all that was warned of, each from the top of the file to its end.
    pub(super) fn into_problems(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |found: RefCell<Vec<Problem>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|problem| problem.line);
            found
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

/// The line that follows these bytes.
fn line(before: &[u8]) -> u32 {
    u32::try_from(before.split(|b| *b == b'\n').count()).expect("a manifest is at most 1 MiB")
}
