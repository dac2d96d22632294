//! Hands out the values of a TOML table, typed, and remembers which keys were asked for: what nobody asked for is an
//! unknown key. Every mistake is reported to the source and reading goes on, so that one look finds them all.

use std::{
    ffi::OsString,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};

use atoll_net::Secret;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Name,
    source::Source,
    units::{duration, size, write_duration, write_size},
};
use crate::{
    problem::Place,
    text::{nearest, quoted},
};

/// A table; one that is absent has no keys.
pub(super) struct Table<'a> {
    source: &'a Source,
    /// As in a message: `[component.site]`.
    title: String,
    span: Range<usize>,
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

/// One key with its value.
pub(super) struct Entry<'a> {
    source: &'a Source,
    pub(super) key: &'a str,
    pub(super) span: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    pub(super) fn root(source: &'a Source, document: &'a DeTable<'a>) -> Self {
        Self { source, title: "the manifest".into(), span: 0..0, entries: Some(document), asked: Vec::new() }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    pub(super) fn place(&self) -> Place {
        self.source.place(&self.span)
    }

    /// Something wrong with the table as a whole.
    pub(super) fn report(&self, message: impl AsRef<str>) {
        self.source.report(&self.span, format!("{} {}", self.title, message.as_ref()));
    }

    pub(super) fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (key, value) = self.entries?.get_key_value(key)?;
        Some(Entry { source: self.source, key: key.get_ref(), span: key.span(), value })
    }

    /// A key that has to be there: `what` it holds is said where it is not.
    pub(super) fn required(&mut self, key: &'static str, what: &str) -> Option<Entry<'a>> {
        let entry = self.entry(key);
        if entry.is_none() {
            self.report(format!("has no `{key}`: {what}"));
        }
        entry
    }

    /// A string in a form of its own.
    pub(super) fn text<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.entry(key)?.text(parse)
    }

    /// A string, or a list of them: never empty, nothing twice.
    pub(super) fn texts<T: PartialEq>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.entry(key)?.texts(parse)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        let DeValue::Boolean(flag) = entry.value.get_ref() else {
            entry.mistyped("true or false");
            return None;
        };
        Some(*flag)
    }

    pub(super) fn number(&mut self, key: &'static str, default: u32, within: RangeInclusive<u32>) -> u32 {
        self.entry(key).and_then(|entry| entry.number(&within)).unwrap_or(default)
    }

    /// In bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, within: RangeInclusive<u64>) -> u64 {
        let Some(entry) = self.entry(key) else { return default };
        entry.quantity(size, &within, |bytes| write_size(*bytes)).unwrap_or(default)
    }

    pub(super) fn duration(&mut self, key: &'static str, within: RangeInclusive<Duration>) -> Option<Duration> {
        self.entry(key)?.quantity(duration, &within, |duration| write_duration(*duration))
    }

    /// A file that is there, looked up beside the manifest.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        self.entry(key)?.file()
    }

    /// Where a secret is that may be used though others can read it, as container engines mount theirs: that is told.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let entry = self.entry(key)?;
        let secret = entry.secret(&entry.text(|text| Ok(text.to_owned()))?)?;
        entry.tell_open(&secret);
        Some(secret)
    }

    /// The table under a key; where there is none, an empty one.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'a> {
        let title = format!("[{key}]");
        let table = self.entry(key).and_then(|entry| entry.table(title.clone()));
        table.unwrap_or(Table { source: self.source, title, span: self.span.clone(), entries: None, asked: Vec::new() })
    }

    /// The tables `[key.NAME]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(Name, Table<'a>)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let mut tables = Vec::new();
        for entry in entry.entries(format!("one table each, [{key}.NAME]")) {
            match Name::parse(entry.key) {
                Ok(name) => {
                    let title = format!("[{key}.{name}]");
                    tables.extend(entry.table(title).map(|table| (name, table)));
                }
                Err(message) => entry.source.report(&entry.span, message),
            }
        }
        tables
    }

    /// The tables `[[key]]`.
    pub(super) fn rows(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let title = format!("[[{key}]]");
        let DeValue::Array(rows) = entry.value.get_ref() else {
            entry.mistyped(&format!("tables headed {title}"));
            return Vec::new();
        };
        let row = |row: &'a Spanned<DeValue<'a>>| {
            Entry { source: self.source, key: entry.key, span: row.span(), value: row }.table(title.clone())
        };
        rows.iter().filter_map(row).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(entries) = self.entries else { return };
        for (key, _) in entries {
            if self.asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let hint = match nearest(key.get_ref(), self.asked.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", list(&self.asked)),
            };
            self.source.report(&key.span(), format!("unknown key {} in {}; {hint}", quoted(key.get_ref()), self.title));
        }
    }
}

impl<'a> Entry<'a> {
    /// Something wrong with the value.
    pub(super) fn report(&self, message: impl AsRef<str>) {
        self.source.report(&self.value.span(), format!("{}: {}", quoted(self.key), message.as_ref()));
    }

    pub(super) fn text<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let DeValue::String(text) = self.value.get_ref() else {
            self.mistyped("a string");
            return None;
        };
        parse(text).map_err(|message| self.report(message)).ok()
    }

    pub(super) fn texts<T: PartialEq>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let values = match self.value.get_ref() {
            DeValue::String(_) => return self.text(parse).map(|value| vec![value]),
            DeValue::Array(values) if values.is_empty() => {
                self.report("the list is empty: name at least one, or leave the key out");
                return None;
            }
            DeValue::Array(values) => values,
            _ => {
                self.mistyped("a string or a list of strings");
                return None;
            }
        };
        let mut parsed = Vec::new();
        for value in values {
            let entry = Entry { source: self.source, key: self.key, span: self.span.clone(), value };
            let said = value.get_ref().as_str().unwrap_or_default();
            let Some(value) = entry.text(&parse) else { continue };
            if parsed.contains(&value) {
                entry.report(format!("the list has {} twice", quoted(said)));
            } else {
                parsed.push(value);
            }
        }
        (parsed.len() == values.len()).then_some(parsed)
    }

    /// The keys of a table that the operator chose.
    pub(super) fn entries(&self, expected: impl AsRef<str>) -> Vec<Entry<'a>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            self.mistyped(expected.as_ref());
            return Vec::new();
        };
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let key: &'a Spanned<std::borrow::Cow<'a, str>> = key;
            Entry { source: self.source, key: key.get_ref(), span: key.span(), value }
        };
        entries.iter().map(entry).collect()
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn number(&self, within: &RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            self.mistyped("a whole number");
            return None;
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if within.contains(&number) => Some(number),
            _ => {
                self.report(format!("{number} is not between {} and {}", within.start(), within.end()));
                None
            }
        }
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        self.file_at(&self.text(|text| Ok(text.to_owned()))?)
    }

    /// The same of one with a secret in it.
    pub(super) fn private_file(&self) -> Option<PathBuf> {
        let path = self.file()?;
        self.tell_open(&Secret::File(path.clone()));
        Some(path)
    }

    /// Says it where others can read a secret.
    fn tell_open(&self, secret: &Secret) {
        if let Ok(Some(open)) = secret.open_to_others() {
            self.source.warn(&self.value.span(), format!("{}: {open}", quoted(self.key)));
        }
    }

    fn file_at(&self, text: &str) -> Option<PathBuf> {
        if text.is_empty() {
            self.report("is empty: name a file");
            return None;
        }
        let path = self.source.directory().join(text);
        readable(&path).map_err(|message| self.report(message)).ok()?;
        Some(path)
    }

    /// Where the secret is that `text`, the value or a part of it, means: `env:NAME`, a variable that is set, or a file that
    /// is there.
    pub(super) fn secret(&self, text: &str) -> Option<Secret> {
        match text.strip_prefix("env:") {
            Some(name) => self.variable(name).map(|_| Secret::Variable(name.to_owned())),
            None => self.file_at(text).map(Secret::File),
        }
    }

    /// A socket of this machine, by its path or by the variable that holds it: it need not be there yet.
    pub(super) fn socket(&self, text: &str) -> Option<PathBuf> {
        if text.is_empty() {
            self.report("is empty: name a socket");
            return None;
        }
        let path = match text.strip_prefix("env:") {
            Some(name) => PathBuf::from(self.variable(name)?),
            None => PathBuf::from(text),
        };
        Some(self.source.directory().join(path))
    }

    /// What a variable of the environment holds: something.
    fn variable(&self, name: &str) -> Option<OsString> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) || name.starts_with(|first: char| first.is_ascii_digit()) {
            self.report(format!("{} is not a variable's name; for a file write \"./env:{name}\"", quoted(name)));
            return None;
        }
        match std::env::var_os(name) {
            Some(value) if !value.is_empty() => Some(value),
            Some(_) => {
                self.report(format!("the variable {} of the environment is empty", quoted(name)));
                None
            }
            None => {
                self.report(format!("there is no variable {} in the environment", quoted(name)));
                None
            }
        }
    }

    pub(super) fn table(&self, title: String) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            self.mistyped(&format!("a table, {title}"));
            return None;
        };
        let (source, span) = (self.source, self.span.clone());
        Some(Table { source, title, span, entries: Some(entries), asked: Vec::new() })
    }

    /// A number with its unit. A bare integer gets the same words as a string without one.
    fn quantity<T: PartialOrd>(
        &self,
        parse: impl Fn(&str) -> Result<T, String>,
        within: &RangeInclusive<T>,
        write: impl Fn(&T) -> String,
    ) -> Option<T> {
        if let DeValue::Integer(number) = self.value.get_ref() {
            let message = parse(number.as_str()).err().unwrap_or_default();
            self.report(message);
            return None;
        }
        self.text(|text| {
            let quantity = parse(text)?;
            if !within.contains(&quantity) {
                let (least, most) = (write(within.start()), write(within.end()));
                return Err(format!("{} is not between {least} and {most}", quoted(text)));
            }
            Ok(quantity)
        })
    }

    fn mistyped(&self, expected: &str) {
        let found = match self.value.get_ref().type_str() {
            found @ ("array" | "integer") => format!("an {found}"),
            found => format!("a {found}"),
        };
        self.report(format!("this is {found}; expected {expected}"));
    }
}

/// # Errors
/// In words for the operator.
pub(super) fn readable(path: &std::path::Path) -> Result<(), String> {
    let shown = quoted(&path.to_string_lossy());
    let words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {shown}"),
        _ => format!("{shown} cannot be read: {error}"),
    };
    // Before it is opened: a pipe without a writer would hold whoever does.
    if !std::fs::metadata(path).map_err(words)?.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    std::fs::File::open(path).map(drop).map_err(words)
}

/// `a`, `b`, `c`.
pub(super) fn list<T: AsRef<str>>(words: &[T]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(", ")
}
