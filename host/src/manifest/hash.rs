//! One number for all that a component's table says: part of what makes a generation. It is kept in the state, so the
//! form that is hashed never changes without its first word changing too.

use std::{collections::BTreeMap, fmt};

use atoll_net::{
    Secret,
    ssh::{Key, Kind},
};
use sha2::{Digest, Sha256};

use super::{Binding, Component, HostKey, Mode, Name, Remote};

/// SHA-256 of a component's table and of the bindings named in it, in canonical form: what is written in another order,
/// in another unit, or as the default it is anyway, is the same. Which file the component is in is not part of it: its
/// bytes have a digest.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableHash([u8; 32]);

impl TableHash {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Every binding that the component is granted is among `bindings`.
    pub(super) fn of(component: &Component, bindings: &BTreeMap<Name, Binding>) -> Self {
        let Component { name, path: _, git, http, env, probe, limits, hash: _, place: _ } = component;
        let mut form = Form::new("atoll component table 1");
        form.text(name);
        form.count(git.len());
        for (name, grant) in git {
            form.text(name);
            form.text(match grant.mode {
                Mode::Read => "read",
                Mode::Write => "write",
            });
            if let Some(binding) = bindings.get(&grant.from) {
                form.binding(binding);
            }
        }
        form.count(http.len());
        for origin in http {
            form.text(&origin.to_string());
        }
        form.count(env.len());
        for (name, value) in env {
            form.text(name);
            form.text(value);
        }
        form.optional(probe.as_ref().map(http::uri::PathAndQuery::as_str));
        form.text(&format!(
            "memory {} timeout {:?} concurrency {} instances {} idle {} drain {}",
            limits.memory,
            limits.timeout.map(|timeout| timeout.as_millis()),
            limits.concurrency,
            limits.instances,
            limits.idle.as_millis(),
            limits.drain.as_millis(),
        ));
        Self(form.0.finalize().into())
    }
}

impl fmt::Display for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Each part with its length before it, so that no two forms have the same bytes.
struct Form(Sha256);

impl Form {
    fn new(kind: &str) -> Self {
        let mut form = Self(Sha256::new());
        form.text(kind);
        form
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn path(&mut self, path: Option<&std::path::Path>) {
        self.count(usize::from(path.is_some()));
        self.bytes(path.unwrap_or(std::path::Path::new("")).as_os_str().as_encoded_bytes());
    }

    /// Where it is: no path of a file begins like a variable.
    fn secret(&mut self, secret: Option<&Secret>) {
        match secret {
            Some(Secret::File(path)) => self.path(Some(path)),
            Some(Secret::Variable(name)) => self.optional(Some(&format!("env:{name}"))),
            None => self.path(None),
        }
    }

    fn binding(&mut self, binding: &Binding) {
        let Binding { name, remote, branch, depth: _, poll, hook: _, ours: _, place: _ } = binding;
        self.text(name);
        self.optional(branch.as_deref());
        self.text(&poll.as_millis().to_string());
        match remote {
            Remote::Local(path) => {
                self.text("local");
                self.path(Some(path));
            }
            Remote::Ssh { user, host, port, path, key, host_key } => {
                self.text("ssh");
                self.optional(user.as_deref());
                self.text(&host.to_string());
                self.text(&port.to_string());
                self.text(path);
                match key {
                    None => self.path(None),
                    Some(Key::Stored { at, passphrase: None }) => self.secret(Some(at)),
                    Some(Key::Stored { at, passphrase }) => {
                        self.secret(Some(at));
                        self.text("passphrase");
                        self.secret(passphrase.as_ref());
                    }
                    Some(Key::Agent(socket)) => {
                        self.text("agent");
                        self.path(Some(socket));
                    }
                    Some(Key::Seed { at, kind }) => {
                        self.text("seed");
                        if let Kind::Rsa(bits) = kind {
                            self.text(&format!("rsa {bits}"));
                        }
                        self.secret(Some(at));
                    }
                }
                match host_key {
                    Some(HostKey::KnownHosts(file)) => self.path(Some(file)),
                    Some(HostKey::Pin(pin)) => self.text(pin),
                    None => self.text(""),
                }
            }
            Remote::Git { host, port, path } => {
                self.text("git");
                self.text(&host.to_string());
                self.text(&port.to_string());
                self.text(path);
            }
            Remote::Http { origin, path, ca, token } => {
                self.text("http");
                self.text(&origin.to_string());
                self.text(path);
                self.path(ca.as_deref());
                self.secret(token.as_ref());
            }
        }
    }
}
