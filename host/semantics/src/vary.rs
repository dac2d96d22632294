//! What a `Vary` says, RFC 9110 section 12.5.5: which fields of a request an answer depends on.

use http::{HeaderMap, HeaderName, header::VARY};

/// Names beyond this are as good as all: a key made of so much is never asked for twice.
pub const MOST_NAMES: usize = 16;

/// The fields that an answer depends on, each once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Varies {
    By(Vec<HeaderName>),
    /// On more than can be told.
    ByAll,
}

impl Varies {
    pub fn of(answer: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in answer.get_all(VARY) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() {
                    continue;
                }
                // `*`, and what is no name at all.
                let Ok(name) = HeaderName::from_bytes(name) else { return Self::ByAll };
                if name == "*" {
                    return Self::ByAll;
                }
                names.push(name);
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.len() > MOST_NAMES { Self::ByAll } else { Self::By(names) }
    }
}

/// Adds a name to the `Vary` of an answer, where it isn't there yet.
pub fn add(answer: &mut HeaderMap, name: &HeaderName) {
    match Varies::of(answer) {
        Varies::By(names) if !names.contains(name) => drop(answer.append(VARY, name.clone().into())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{ACCEPT_ENCODING, VARY},
    };

    use super::{Varies, add};

    fn answer(values: &[&str]) -> HeaderMap {
        let mut answer = HeaderMap::new();
        for value in values {
            answer.append(VARY, HeaderValue::try_from(*value).unwrap());
        }
        answer
    }

    #[test]
    fn names() {
        let many = (0..17).map(|at| format!("x-{at}")).collect::<Vec<_>>().join(",");
        for (values, names) in [
            (&[][..], Some(&[][..])),
            (&["", ","], Some(&[])),
            (&["Accept"], Some(&["accept"])),
            (&["Cookie , accept", "COOKIE"], Some(&["accept", "cookie"])),
            (&["*"], None),
            (&["accept, *"], None),
            (&["acc ept"], None),
            (&[many.as_str()], None),
        ] {
            let expected = names.map_or(Varies::ByAll, |names| {
                Varies::By(names.iter().map(|name| HeaderName::from_static(name)).collect())
            });
            assert_eq!(Varies::of(&answer(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_name_is_added_once() {
        for (values, expected) in [
            (&[][..], &["accept-encoding"][..]),
            (&["cookie"], &["cookie", "accept-encoding"]),
            (&["Accept-Encoding"], &["Accept-Encoding"]),
            (&["*"], &["*"]),
        ] {
            let mut head = answer(values);
            add(&mut head, &ACCEPT_ENCODING);
            assert_eq!(head, answer(expected));
        }
    }
}
