//! Forms that are the same to the byte are held once: a site that has many names is in memory once, and in the processor's. It
//! looks at few bytes of a form, and at all of them only where those are the same.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::Form;

/// Of the forms made last; an older one may lose its place, and then has no further twin.
const PLACES: usize = 4096;
/// Bytes of a body beyond which it is not worth the look.
const LARGEST: usize = 64 * 1024;
/// Bytes at either end of a body that are looked at first.
const ENDS: usize = 64;

pub(in crate::http) struct Twins {
    places: Box<[Mutex<Weak<Form>>]>,
    hasher: RandomState,
}

impl Default for Twins {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Twins {
    /// Puts the one that is there already in the place of `form`, or remembers it as the first of its kind.
    pub(super) fn join(&self, form: &mut Arc<Form>) {
        if form.body.len() > LARGEST {
            return;
        }
        let mut place = self.places[self.place(form)].lock().unwrap_or_else(PoisonError::into_inner);
        match place.upgrade() {
            Some(twin) if twin == *form => *form = twin,
            _ => *place = Arc::downgrade(form),
        }
    }

    fn place(&self, form: &Form) -> usize {
        let mut hasher = self.hasher.build_hasher();
        let body = &form.body;
        body.len().hash(&mut hasher);
        body[..body.len().min(ENDS)].hash(&mut hasher);
        body[body.len().saturating_sub(ENDS)..].hash(&mut hasher);
        // In whatever order they are.
        let fields = form.head.iter().map(|field| self.hasher.hash_one(field));
        fields.fold(0, u64::wrapping_add).hash(&mut hasher);
        usize::try_from(hasher.finish() % PLACES as u64).expect("below 4096")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, header::ETAG};

    use super::{Form, LARGEST, Twins};

    fn form(tag: &str, body: Vec<u8>) -> Arc<Form> {
        let head = HeaderMap::from_iter([(ETAG, HeaderValue::from_str(tag).unwrap())]);
        Arc::new(Form { head, body: Bytes::from(body) })
    }

    #[test]
    fn what_is_the_same_to_the_byte_is_held_once() {
        let (twins, body) = (Twins::default(), vec![b'x'; 1000]);
        let mut other = body.clone();
        other[500] = b'y';
        let first = form("a", body.clone());
        twins.join(&mut first.clone());
        for (what, tag, body, expected) in [
            ("the same", "a", body.clone(), true),
            ("another head", "b", body, false),
            ("another byte in its midst", "a", other, false),
            ("nothing", "a", vec![], false),
        ] {
            let mut form = form(tag, body);
            twins.join(&mut form);
            assert_eq!(Arc::ptr_eq(&form, &first), expected, "{what}");
            twins.join(&mut first.clone());
        }
    }

    #[test]
    fn it_holds_nothing_by_itself() {
        let twins = Twins::default();
        let mut form = self::form("a", vec![b'x'; LARGEST]);
        let gone = Arc::downgrade(&form);
        twins.join(&mut form);
        drop(form);
        assert!(gone.upgrade().is_none());
        let large = self::form("a", vec![b'x'; LARGEST + 1]);
        for _ in 0..2 {
            let mut form = self::form("a", vec![b'x'; LARGEST + 1]);
            twins.join(&mut form);
            assert!(!Arc::ptr_eq(&form, &large));
        }
    }
}
