//! Reads TOML values as what a route file wants them to be, and collects everything that is not so.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest;
use crate::problem::{ENOUGH, Problem};

pub(crate) type Value<'t> = Spanned<DeValue<'t>>;

/// The text of a route file and what was found wrong in it so far.
pub(crate) struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

/// The document that `text` is, or its first mistake as TOML. (A list of them all would hold the text once for each.)
pub(crate) fn parse(text: &str) -> Result<DeTable<'_>, Problem> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| Problem {
        line: error.span().map(|span| line(text, span.start)),
        message: error.message().into(),
    })
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Everything that was found, from the top of the file down.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    pub(crate) fn problem(&mut self, at: &Range<usize>, message: impl Into<String>) {
        if self.problems.len() < ENOUGH {
            self.problems.push(Problem { line: Some(line(self.text, at.start)), message: message.into() });
        }
    }

    /// Complains about each key of `table` that is not `known`.
    pub(crate) fn keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let hint = nearest::hint(word, known.iter().copied());
                self.problem(&key.span(), format!("unknown key `{}`{hint}", word.escape_debug()));
            }
        }
    }

    pub(crate) fn string(&mut self, key: &str, value: &'t Value<'t>) -> Option<&'t str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.problem(&value.span(), format!("`{key}` must be a string"));
        }
        string
    }

    pub(crate) fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.problem(&value.span(), format!("`{key}` is true or false"));
        }
        boolean
    }

    /// A status code out of `allowed`, which `words` name.
    pub(crate) fn status(
        &mut self,
        key: &str,
        value: &Value<'_>,
        allowed: fn(u16) -> bool,
        words: &str,
    ) -> Option<u16> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let status = number.filter(|&status| allowed(status));
        if status.is_none() {
            self.problem(&value.span(), format!("`{key}` is {words}"));
        }
        status
    }

    pub(crate) fn table(&mut self, key: &str, value: &'t Value<'t>) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.problem(&value.span(), format!("`{key}` must be a table"));
        }
        table
    }

    pub(crate) fn array(&mut self, key: &str, value: &'t Value<'t>, of: &str) -> &'t [Value<'t>] {
        let array = value.get_ref().as_array();
        if array.is_none() {
            self.problem(&value.span(), format!("`{key}` is {of}"));
        }
        array.map_or(&[], |array| array.as_ref())
    }
}

/// The line that the byte at `offset` is on, counted from 1.
pub(crate) fn line(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}
