//! TOML with the lines of its keys, read key by key: what nobody asked for is a mistake.

use std::{
    cell::RefCell,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

/// A cases file that is not what it should be. Printed as `FILE:LINE: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

impl std::error::Error for Mistake {}

pub(super) type Read<T> = Result<T, Mistake>;

/// The file, for messages and for what lies beside it.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn mistake(&self, span: &Range<usize>, message: impl Into<String>) -> Mistake {
        Mistake { file: self.path.to_owned(), line: self.line(span), message: message.into() }
    }

    pub(super) fn parse(&self) -> Read<Spanned<DeTable<'_>>> {
        DeTable::parse(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.mistake(&span, error.message())
        })
    }
}

/// A table whose keys are known.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    /// As in a message: `[[case]]`.
    title: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value, with the key that it stands at.
pub(super) struct Entry<'a> {
    source: &'a Source<'a>,
    pub(super) key: &'a str,
    key_span: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    pub(super) fn root(source: &'a Source<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(source, "the file".into(), document.span(), document.get_ref())
    }

    fn new(source: &'a Source<'a>, title: String, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self { source, title, span, table, asked: RefCell::default() }
    }

    pub(super) fn line(&self) -> usize {
        self.source.line(&self.span)
    }

    pub(super) fn mistake(&self, message: &str) -> Mistake {
        self.source.mistake(&self.span, format!("{} {message}", self.title))
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.borrow_mut().push(key);
        let (key, value) = self.table.get_key_value(key)?;
        Some(Entry { source: self.source, key: key.get_ref(), key_span: key.span(), value })
    }

    /// All keys, in the order of the file, where they are names of the author's own.
    pub(super) fn entries(&self) -> Vec<Entry<'a>> {
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| -> Entry<'a> {
            let key: &'a Spanned<std::borrow::Cow<'a, str>> = key;
            Entry { source: self.source, key: key.get_ref(), key_span: key.span(), value }
        };
        let mut entries: Vec<_> = self.table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        entries
    }

    /// To be called when every key that may be there was asked for.
    pub(super) fn finish(&self) -> Read<()> {
        let asked = self.asked.borrow();
        let Some(unknown) = self.entries().into_iter().find(|entry| !asked.contains(&entry.key)) else { return Ok(()) };
        let hint = match nearest(unknown.key, &asked) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there may be `{}`", asked.join("`, `")),
        };
        Err(unknown.mistake(format!("unknown key `{}` in {}: {hint}", unknown.key.escape_debug(), self.title)))
    }
}

fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = |known: &&'static str| {
        let distance = strsim::damerau_levenshtein(word, known);
        (distance <= (known.len().min(word.len()) / 3).max(1)).then_some((distance, *known))
    };
    known.iter().filter_map(near).min().map(|(_, known)| known)
}

impl<'a> Entry<'a> {
    pub(super) fn mistake(&self, message: impl Into<String>) -> Mistake {
        self.source.mistake(&self.key_span, message)
    }

    /// Something else than its key could hold.
    pub(super) fn mistyped<T>(&self, should: &str) -> Read<T> {
        let is = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Err(self.mistake(format!("`{}` is {is}: it should be {should}", self.key.escape_debug())))
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    pub(super) fn is(&self, flag: bool) -> bool {
        matches!(self.value.get_ref(), DeValue::Boolean(is) if *is == flag)
    }

    pub(super) fn table(&self, title: &str) -> Read<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Table::new(self.source, title.into(), self.key_span.clone(), table)),
            _ => self.mistyped("a table"),
        }
    }

    pub(super) fn tables(&self, title: &str) -> Read<Vec<Table<'a>>> {
        let DeValue::Array(values) = self.value.get_ref() else { return self.mistyped("a list of tables") };
        let table = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::Table(table) => Ok(Table::new(self.source, title.into(), value.span(), table)),
            _ => self.mistyped("a list of tables"),
        };
        values.iter().map(table).collect()
    }

    pub(super) fn text(&self) -> Read<String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => self.mistyped("a text"),
        }
    }

    /// A text, or a list of them.
    pub(super) fn texts(&self) -> Read<Vec<String>> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(vec![text.clone().into_owned()]),
            DeValue::Array(texts) => self.all_texts(texts),
            _ => self.mistyped("a text or a list of texts"),
        }
    }

    fn all_texts(&self, texts: &DeArray<'_>) -> Read<Vec<String>> {
        let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.source.mistake(&value.span(), format!("`{}` should hold texts alone", self.key))),
        };
        texts.iter().map(text).collect()
    }

    pub(super) fn flag(&self) -> Read<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => self.mistyped("true or false"),
        }
    }

    pub(super) fn number(&self, most: u64) -> Read<u64> {
        let DeValue::Integer(number) = self.value.get_ref() else { return self.mistyped("a whole number") };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if number <= most => Ok(number),
            _ => Err(self.mistake(format!("`{}` is {number}: it should be between 0 and {most}", self.key))),
        }
    }
}
