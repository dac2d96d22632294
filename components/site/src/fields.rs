//! The fields of a response, a few of them, in the order in which they were set.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

/// What a host reckons of a field beside its name and value, in bytes.
pub(crate) const OVERHEAD: usize = 72;

/// Names are in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// In place of all values that the field had.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.append(name, value);
    }

    /// Beside them, on a line of its own.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| other != name);
    }

    /// In bytes, as a host reckons it: names and values, and for each field this much more.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD).sum()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.0.iter()
    }

    pub(crate) fn into_vec(self) -> Vec<(String, Vec<u8>)> {
        self.0
    }
}
