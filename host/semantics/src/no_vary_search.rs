//! What a `No-Vary-Search` says (draft-ietf-httpbis-no-vary-search): which parameters of a query an answer does not depend
//! on. What can't be read means that it depends on all of them.

use http::HeaderMap;
use smallvec::SmallVec;

pub const NO_VARY_SEARCH: &str = "no-vary-search";
/// Names beyond this make a rule that is slower than the guest.
const MOST_NAMES: usize = 64;
/// Parameters beyond this are not sorted.
const MOST_SORTED: usize = 20;

/// Which part of a query an answer depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRule {
    ignored: Ignored,
    any_order: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Ignored {
    #[default]
    Nothing,
    Only(Vec<Box<[u8]>>),
    AllBut(Vec<Box<[u8]>>),
}

impl SearchRule {
    /// The rule of an answer; none where it depends on the query as a text.
    pub fn of(answer: &HeaderMap) -> Option<Self> {
        let mut rule = Self::default();
        let mut params = Argument::Boolean(false);
        let mut except = None;
        for value in answer.get_all(NO_VARY_SEARCH) {
            let mut rest = value.to_str().ok()?.trim();
            while !rest.is_empty() {
                let (key, argument, tail) = member(rest)?;
                match (key, argument) {
                    ("params", argument) => params = argument,
                    ("except", Argument::Names(names)) => except = Some(names),
                    ("except", Argument::Boolean(_)) => return None,
                    ("key-order", Argument::Boolean(any_order)) => rule.any_order = any_order,
                    ("key-order", Argument::Names(_)) => return None,
                    _ => {}
                }
                rest = tail;
            }
        }
        rule.ignored = match (params, except) {
            (Argument::Boolean(true), except) => Ignored::AllBut(except.unwrap_or_default()),
            (_, Some(_)) => return None,
            (Argument::Boolean(false), None) => Ignored::Nothing,
            (Argument::Names(names), None) => Ignored::Only(names),
        };
        (rule != Self::default()).then_some(rule)
    }

    /// Writes what of the query counts, with its `?`; nothing where nothing does.
    pub fn write<A: smallvec::Array<Item = u8>>(&self, query: Option<&str>, out: &mut SmallVec<A>) {
        let mut kept: SmallVec<[&str; MOST_SORTED]> =
            query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && self.counts(name(pair))).collect();
        if self.any_order && kept.len() <= MOST_SORTED {
            // Stable: two values of one name keep their order.
            kept.sort_by(|one, other| decoded(name(one)).cmp(decoded(name(other))));
        }
        for (at, pair) in kept.iter().enumerate() {
            out.push(if at == 0 { b'?' } else { b'&' });
            out.extend_from_slice(pair.as_bytes());
        }
    }

    /// Bytes that it takes to keep.
    pub fn weight(&self) -> usize {
        match &self.ignored {
            Ignored::Nothing => 0,
            Ignored::Only(names) | Ignored::AllBut(names) => names.iter().map(|name| name.len() + 16).sum(),
        }
    }

    fn counts(&self, name: &str) -> bool {
        let among = |names: &[Box<[u8]>]| names.iter().any(|listed| decoded(name).eq(listed.iter().copied()));
        match &self.ignored {
            Ignored::Nothing => true,
            Ignored::Only(names) => !among(names),
            Ignored::AllBut(names) => among(names),
        }
    }
}

fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// The bytes of a name as a form would have them: `+` is a space, an escape is its byte.
fn decoded(name: &str) -> impl Iterator<Item = u8> {
    let mut rest = name.as_bytes();
    std::iter::from_fn(move || {
        let [byte, tail @ ..] = rest else { return None };
        rest = tail;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        Some(match (*byte, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => byte,
        })
    })
}

enum Argument {
    Boolean(bool),
    Names(Vec<Box<[u8]>>),
}

/// One member of a dictionary, RFC 9651 section 4.2.2: its key, its argument, and what follows it. Of the values that a
/// member may have, booleans and lists of strings, without parameters.
fn member(text: &str) -> Option<(&str, Argument, &str)> {
    let end = text
        .find(|letter: char| !matches!(letter, 'a'..='z' | '0'..='9' | '-' | '_' | '*' | '.'))
        .unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let (argument, rest) = match rest.strip_prefix('=') {
        _ if key.is_empty() => return None,
        None => (Argument::Boolean(true), rest),
        Some(rest) => match rest.strip_prefix('(') {
            Some(rest) => names(rest)?,
            None => match rest.get(..2)? {
                "?1" => (Argument::Boolean(true), &rest[2..]),
                "?0" => (Argument::Boolean(false), &rest[2..]),
                _ => return None,
            },
        },
    };
    let rest = rest.trim_start();
    match rest.strip_prefix(',') {
        // A comma at the end is an error there.
        Some(rest) if !rest.trim().is_empty() => Some((key, argument, rest.trim_start())),
        None if rest.is_empty() => Some((key, argument, rest)),
        _ => None,
    }
}

/// The strings of a list behind its bracket, and what follows it.
fn names(mut rest: &str) -> Option<(Argument, &str)> {
    let mut names = Vec::new();
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(rest) = rest.strip_prefix(')') {
            return Some((Argument::Names(names), rest));
        }
        rest = rest.strip_prefix('"')?;
        let mut name = String::new();
        loop {
            let letter = rest.chars().next()?;
            rest = &rest[letter.len_utf8()..];
            match letter {
                '"' => break,
                '\\' => {
                    let escaped = rest.chars().next().filter(|letter| matches!(letter, '"' | '\\'))?;
                    rest = &rest[1..];
                    name.push(escaped);
                }
                _ => name.push(letter),
            }
        }
        if names.len() == MOST_NAMES || !rest.starts_with([' ', ')']) {
            return None;
        }
        names.push(decoded(&name).collect());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use smallvec::SmallVec;

    use super::SearchRule;

    fn rule(value: &str) -> Option<SearchRule> {
        let name = HeaderName::from_static(super::NO_VARY_SEARCH);
        SearchRule::of(&HeaderMap::from_iter([(name, HeaderValue::try_from(value).unwrap())]))
    }

    fn counted(rule: &SearchRule, query: Option<&str>) -> String {
        let mut out: SmallVec<[u8; 64]> = SmallVec::new();
        rule.write(query, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_of_a_query_counts() {
        for (value, query, kept) in [
            ("params", Some("a=1&b=2"), ""),
            ("params", Some(""), ""),
            ("params", None, ""),
            ("params=?1", Some("a"), ""),
            ("params=(\"utm\")", Some("utm=1&a=2&utm=3"), "?a=2"),
            ("params=(\"utm\" \"b\")", Some("b&c&&d="), "?c&d="),
            ("params=( \"utm\"  \"b\" )", Some("b&c"), "?c"),
            ("params, except=(\"id\")", Some("id=1&x=2"), "?id=1"),
            ("params,except=()", Some("id=1&x=2"), ""),
            ("key-order", Some("b=1&a=2&b=0"), "?a=2&b=1&b=0"),
            ("key-order, params=(\"x\")", Some("b=1&x&a=2"), "?a=2&b=1"),
            ("params=(\"a b\")", Some("a+b=1&a%20b=2&a%2Bb=3"), "?a%2Bb=3"),
            ("params=(\"%61\")", Some("a=1&%61=2&b"), "?b"),
            ("params=(\"a\\\"\")", Some("a%22=1&b"), "?b"),
            ("params=(\"a\"), later=(\"x\")", Some("a&b"), "?b"),
        ] {
            let rule = rule(value).unwrap_or_else(|| panic!("{value}"));
            assert_eq!(counted(&rule, query), kept, "{value} of {query:?}");
        }
    }

    #[test]
    fn what_can_not_be_read_counts_whole() {
        for value in [
            "",
            "params=?0",
            "key-order=?0",
            "params=()",
            "params=\"a\"",
            "params=(a)",
            "params=(\"a\"",
            "params=(\"a)",
            "params=(\"a\"\"b\")",
            "params=(\"a\\b\")",
            "params=(\"a\");x",
            "params,",
            "params, except",
            "except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "key-order=(\"a\")",
            "PARAMS",
            "=",
            "params=",
        ] {
            // An empty list is a rule that ignores nothing, and is as good as none.
            let read = rule(value).filter(|rule| counted(rule, Some("a=1&b")) != "?a=1&b");
            assert_eq!(read, None, "{value}");
        }
    }
}
