//! Answers to a certification authority's challenges (RFC 8555, section 8.3, and RFC 8737): a bounded table that ACME
//! will write to, and that the listeners read.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Certificate;

/// Of each kind, at once: more than all names of an order.
const CHALLENGES: usize = 1000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    #[error("too many challenges at once")]
    Full,
}

/// What is asked of us now.
#[derive(Debug, Default)]
pub struct Challenges {
    http: Table<str>,
    tls: Table<Certificate>,
}

impl Challenges {
    /// `token` is answered with `authorization` under `/.well-known/acme-challenge/`.
    pub fn publish_http(&self, token: &str, authorization: &str) -> Result<(), ChallengeError> {
        self.http.insert(token, authorization.into())
    }

    pub fn withdraw_http(&self, token: &str) {
        self.http.remove(token);
    }

    pub fn http(&self, token: &str) -> Option<Arc<str>> {
        self.http.find(token)
    }

    /// A handshake for `name` and nothing but `acme-tls/1` is shown `certificate`.
    pub fn publish_tls(&self, name: &str, certificate: Arc<Certificate>) -> Result<(), ChallengeError> {
        self.tls.insert(name, certificate)
    }

    pub fn withdraw_tls(&self, name: &str) {
        self.tls.remove(name);
    }

    pub(super) fn tls(&self, name: &str) -> Option<Arc<Certificate>> {
        self.tls.find(name)
    }
}

#[derive(Debug)]
struct Table<T: ?Sized>(RwLock<HashMap<Box<str>, Arc<T>>>);

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: ?Sized> Table<T> {
    fn insert(&self, key: &str, value: Arc<T>) -> Result<(), ChallengeError> {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CHALLENGES && !entries.contains_key(key) {
            return Err(ChallengeError::Full);
        }
        entries.insert(key.into(), value);
        Ok(())
    }

    fn remove(&self, key: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn find(&self, key: &str) -> Option<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded() {
        let challenges = Challenges::default();
        for number in 0..CHALLENGES {
            challenges.publish_http(&number.to_string(), "a").unwrap();
        }
        assert_eq!(challenges.publish_http("x", "a"), Err(ChallengeError::Full));
        challenges.publish_http("7", "b").unwrap();
        assert_eq!(challenges.http("7").as_deref(), Some("b"));
        challenges.withdraw_http("7");
        assert_eq!(challenges.http("7"), None);
        challenges.publish_http("x", "a").unwrap();
    }
}
