//! What is wrong, and where: a mistake in the manifest, in a branch's files, in a component's grants. One form for all of
//! them, so that each is printed, sent and read the same way. It never ends anything by itself.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// One thing that is wrong. Printed as `FILE:LINE: message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The first line is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    pub message: String,
}

/// At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Where a thing was said; nowhere for what is built in or was an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Option<Arc<str>>,
    pub line: Option<u32>,
}

impl Place {
    /// That something is wrong here.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { file: self.file.as_deref().map(str::to_owned), line: self.line, message: message.into() }
    }
}

impl Problem {
    /// Something that is wrong nowhere in particular.
    pub fn new(message: impl Into<String>) -> Self {
        Place::default().problem(message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.message),
            (Some(file), None) => write!(f, "{file}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
