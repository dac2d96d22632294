//! What a remembered answer is found by: the generation, and the request as it is handed to the component after the
//! decision. Made on the stack, so that a lookup allocates nothing; two requests that a guest could tell apart never have
//! one key.

use atoll_runtime::FieldChange;
use atoll_semantics::{no_vary_search::SearchRule, scheme::Scheme};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// A request as it is handed to a component.
#[derive(Clone, Copy)]
pub(super) struct Handed<'a> {
    pub(super) generation: u64,
    pub(super) scheme: Scheme,
    pub(super) authority: &'a str,
    pub(super) port: Option<u16>,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// With the changes made.
    pub(super) fields: &'a HeaderMap,
    /// What the decision changed.
    pub(super) changes: &'a [FieldChange],
}

/// What is kept under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Which part of a query counts for this path.
    Search,
    /// An answer, or the names of the fields that answers vary by.
    Answer,
    /// One of several answers.
    Variant,
}

/// No part of a request can hold these: they end a part, and a list of parts.
const PART: u8 = 0;
const LIST: u8 = 1;

#[derive(Clone, Debug)]
pub(super) struct Key(SmallVec<[u8; 256]>);

impl Key {
    /// Everything but the query.
    pub(super) fn of(handed: &Handed<'_>) -> Self {
        let mut key = SmallVec::new();
        key.push(Kind::Search as u8);
        key.extend_from_slice(&handed.generation.to_ne_bytes());
        key.push(handed.scheme as u8);
        key.extend_from_slice(&handed.port.map_or(u32::MAX, u32::from).to_ne_bytes());
        key.extend_from_slice(handed.authority.as_bytes());
        key.push(PART);
        key.extend_from_slice(handed.path.as_bytes());
        key.push(PART);
        for change in handed.changes {
            let (FieldChange::Set(name, _) | FieldChange::Add(name, _) | FieldChange::Remove(name)) = change;
            push_field(&mut key, name, handed.fields);
        }
        key.push(LIST);
        Self(key)
    }

    /// The target without its query, whatever was changed or is asked of it.
    pub(super) fn of_target(handed: &Handed<'_>) -> Self {
        Self::of(&Handed { changes: &[], ..*handed })
    }

    /// The key of an answer, from that of its path.
    pub(super) fn with_query(mut self, query: Option<&str>, rule: Option<&SearchRule>) -> Self {
        self.0[0] = Kind::Answer as u8;
        match (rule, query) {
            (Some(rule), query) => rule.write(query, &mut self.0),
            (None, Some(query)) => {
                self.0.push(b'?');
                self.0.extend_from_slice(query.as_bytes());
            }
            (None, None) => {}
        }
        self
    }

    /// The key of one of several answers. `epoch` tells one list of names from another that was made in its place.
    pub(super) fn with_fields(mut self, epoch: u64, names: &[HeaderName], fields: &HeaderMap) -> Self {
        self.0[0] = Kind::Variant as u8;
        self.0.push(LIST);
        self.0.extend_from_slice(&epoch.to_ne_bytes());
        for name in names {
            push_field(&mut self.0, name, fields);
        }
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The generation of a key that was kept.
    pub(super) fn generation(key: &[u8]) -> u64 {
        u64::from_ne_bytes(key[1..9].try_into().expect("every key has its generation there"))
    }
}

fn push_field(key: &mut SmallVec<[u8; 256]>, name: &HeaderName, fields: &HeaderMap) {
    key.extend_from_slice(name.as_str().as_bytes());
    for value in fields.get_all(name) {
        key.push(PART);
        key.extend_from_slice(value.as_bytes());
    }
    key.push(LIST);
}

#[cfg(test)]
mod tests {
    use atoll_runtime::FieldChange;
    use atoll_semantics::scheme::Scheme;
    use http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{ACCEPT, COOKIE},
    };

    use super::{Handed, Key};
    use crate::http::tests::fields;

    #[test]
    fn what_a_guest_could_tell_apart_has_another_key() {
        let (none, one, two) =
            (fields(&[]), fields(&[("x-tenant", "a")]), fields(&[("x-tenant", "a"), ("x-tenant", "b")]));
        let joined = fields(&[("x-tenant", "ab")]);
        let changes = [FieldChange::Remove(HeaderName::from_static("x-tenant"))];
        let base = Handed {
            generation: 7,
            scheme: Scheme::Https,
            authority: "a.test",
            port: None,
            path: "/x",
            query: None,
            fields: &none,
            changes: &[],
        };
        let keys: Vec<_> = [
            base,
            Handed { generation: 8, ..base },
            Handed { scheme: Scheme::Http, ..base },
            Handed { authority: "a.test2", ..base },
            Handed { port: Some(8443), ..base },
            Handed { port: Some(0), ..base },
            Handed { path: "/x/", ..base },
            Handed { query: Some(""), ..base },
            Handed { query: Some("a"), ..base },
            Handed { path: "/x?a", ..base },
            Handed { changes: &changes, ..base },
            Handed { changes: &changes, fields: &one, ..base },
            Handed { changes: &changes, fields: &two, ..base },
            Handed { changes: &changes, fields: &joined, ..base },
        ]
        .iter()
        .map(|handed| Key::of(handed).with_query(handed.query, None).bytes().to_vec())
        .collect();
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at), "the same as an earlier one");
        }
        // What the decision left alone is `Vary`'s business.
        let unchanged = Handed { fields: &one, ..base };
        assert_eq!(Key::of(&unchanged).with_query(None, None).bytes(), keys[0]);
        assert_eq!(Key::generation(&keys[1]), 8);
    }

    #[test]
    fn variants() {
        let names = [ACCEPT, COOKIE];
        let (none, html) = (fields(&[]), fields(&[("accept", "text/html")]));
        let base = Handed {
            generation: 7,
            scheme: Scheme::Https,
            authority: "a.test",
            port: None,
            path: "/x",
            query: None,
            fields: &none,
            changes: &[],
        };
        let variant = |epoch, fields: &HeaderMap| {
            Key::of(&base).with_query(None, None).with_fields(epoch, &names, fields).bytes().to_vec()
        };
        let empty = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(""))]);
        let keys = [variant(1, &none), variant(2, &none), variant(1, &html), variant(1, &empty)];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
        assert_eq!(variant(1, &fields(&[("x", "y")])), variant(1, &none));
    }
}
