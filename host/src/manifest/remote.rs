//! Where a binding's branch comes from: the address as an operator writes it, and the keys that go with each kind.

use std::{
    borrow::Cow,
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use atoll_net::{
    Secret,
    ssh::{Key, Kind},
};
use url::Host;

use super::{
    Origin, Scheme,
    origin::{Url, secretless},
    reader::Table,
};
use crate::text::quoted;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A repository, bare or with a work tree, or a plain directory, which stands in for a branch. Absolute.
    Local(PathBuf),
    Ssh {
        user: Option<String>,
        host: Host,
        port: u16,
        path: String,
        key: Option<Key>,
        host_key: Option<HostKey>,
    },
    Git {
        host: Host,
        port: u16,
        path: String,
    },
    Http {
        origin: Origin,
        path: String,
        ca: Option<PathBuf>,
        token: Option<Secret>,
    },
}

/// How an SSH server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    KnownHosts(PathBuf),
    /// `SHA256:` and the fingerprint, as `ssh-keygen -l` prints it.
    Pin(String),
}

impl Remote {
    /// An address alone; a path is looked up in `directory`.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: name a repository or a directory".into());
        }
        if text.starts_with('-') {
            return Err(format!("{} begins with a dash: for a path write `./` before it", secretless(text)));
        }
        if text.contains(char::is_control) {
            return Err(format!("{} has a control character", secretless(text)));
        }
        if text.contains("://") {
            return Self::parse_url(text);
        }
        // As Git reads it: a colon before the first slash makes it SSH.
        let Some((before, path)) = scp(text).filter(|(before, _)| !before.contains('/')) else {
            if text.starts_with('~') {
                return Err(format!(
                    "{} begins with `~`, which nobody expands here: write the whole path",
                    quoted(text)
                ));
            }
            return Ok(Self::Local(directory.join(text)));
        };
        if path.starts_with(':') {
            return Err(format!("{} asks for a helper program, and none is ever run", quoted(text)));
        }
        let (user, host) = match before.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, before),
        };
        // Brackets are for an address of IPv6, and for a port.
        let within = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = within.filter(|host| host.matches(':').count() < 2).unwrap_or(host);
        let as_url = format!("ssh://{host}/");
        let url = Url::parse(&as_url).map_err(|message| format!("{message}; for a path write \"./{text}\""))?;
        // Git drops whatever stands before a tilde.
        if path.find('~') == Some(1) && !path.starts_with('/') {
            return Err(format!(
                "{} is read by Git as {}: write \"ssh://{before}/~/{path}\"",
                quoted(text),
                quoted(&format!("{before}:{}", &path[1..]))
            ));
        }
        Self::ssh(user, url.host, url.port, of_home(path))
    }

    fn parse_url(text: &str) -> Result<Self, String> {
        // The only scheme whose URLs may have no host.
        if let Some((_, after)) = text.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file")) {
            return file(text, after).map(Self::Local);
        }
        let text = &named_authority(text)?;
        // A password may have a `/` in it, and what stands before that is a part of it.
        let (_, after) = text.split_once("://").unwrap_or(("", text));
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let before = after.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'));
        let password = before || (rest.contains('@') && !authority.contains('@'));
        let url = Url::parse(text)
            .map_err(|message| if password { "credentials do not belong in a URL".into() } else { message })?;
        let path = url.rest;
        if path.len() < 2 || path.contains(['?', '#']) {
            return Err(format!("{} needs the path of a repository and nothing behind it", quoted(&shown(&url))));
        }
        match &*url.scheme {
            "ssh" | "git+ssh" | "ssh+git" if url.password => {
                Err("credentials do not belong in a URL: put the key in a file and name it, key = \"FILE\"".into())
            }
            "ssh" | "git+ssh" | "ssh+git" => Self::ssh(url.user, url.host, url.port, of_home(&named(text, path)?)),
            "http" if url.user.is_some() => {
                Err("credentials do not belong in a URL, and http:// carries none: use https:// with token = \"FILE\""
                    .into())
            }
            "https" if url.user.is_some() => {
                Err("credentials do not belong in a URL: put the token in a file and name it, token = \"FILE\"".into())
            }
            "git" if url.user.is_some() => {
                Err("credentials do not belong in a URL, and git:// has none: use ssh:// with key = \"FILE\"".into())
            }
            "git" => Ok(Self::Git {
                host: url.host,
                port: url.port.unwrap_or(9418),
                path: of_home(&named(text, path)?).to_owned(),
            }),
            "http" | "https" => {
                let scheme = if url.scheme == "http" { Scheme::Http } else { Scheme::Https };
                Ok(Self::Http { origin: url.origin(scheme), path: path.to_owned(), ca: None, token: None })
            }
            _ => Err(format!(
                "{} is none of ssh://, https://, http://, git://, file:// and a path",
                quoted(&shown(&url))
            )),
        }
    }

    fn ssh(user: Option<&str>, host: Host, port: Option<u16>, path: &str) -> Result<Self, String> {
        let user = match user {
            Some(user) if user.is_empty() || user.starts_with('-') || user.contains(':') => {
                return Err("the user before `@` is not a name".into());
            }
            user => user.map(str::to_owned),
        };
        if path.is_empty() || path.starts_with('-') {
            return Err("an address over SSH needs the path of a repository".into());
        }
        Ok(Self::Ssh { user, host, port: port.unwrap_or(22), path: path.to_owned(), key: None, host_key: None })
    }

    /// The keys of a binding's table that go with this kind of remote; the others are wrong there.
    pub(super) fn read_keys(self, table: &mut Table<'_>) -> Self {
        let unsuited = |table: &mut Table<'_>, keys: &[&'static str], remote: &Self| {
            for key in keys {
                if let Some(entry) = table.entry(key) {
                    entry.report(format!("goes with {}, and `remote` is {remote}", suited(key)));
                }
            }
        };
        match self {
            Self::Local(_) | Self::Git { .. } => {
                unsuited(table, &["key", "passphrase", "known_hosts", "pin", "ca", "token"], &self);
                self
            }
            Self::Http { ref origin, .. } if origin.scheme == Scheme::Http => {
                unsuited(table, &["key", "passphrase", "known_hosts", "pin", "ca", "token"], &self);
                self
            }
            Self::Http { origin, path, .. } => {
                let remote = Self::Http { origin, path, ca: table.file("ca"), token: table.secret("token") };
                unsuited(table, &["key", "passphrase", "known_hosts", "pin"], &remote);
                remote
            }
            Self::Ssh { user, host, port, path, .. } => {
                let known_hosts = table.file("known_hosts");
                let pin = table.text("pin", pin);
                if known_hosts.is_some() && pin.is_some() {
                    table.report("has `known_hosts` and `pin`: one of them");
                }
                let host_key = pin.map(HostKey::Pin).or(known_hosts.map(HostKey::KnownHosts));
                let remote = Self::Ssh { user, host, port, path, key: key(table), host_key };
                unsuited(table, &["ca", "token"], &remote);
                remote
            }
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "a path",
            Self::Ssh { .. } => "an address over SSH",
            Self::Git { .. } => "a git:// URL",
            Self::Http { origin, .. } if origin.scheme == Scheme::Http => "an http:// URL",
            Self::Http { .. } => "an https:// URL",
        })
    }
}

/// Where the host of `[USER@]HOST:PATH` ends: at the first colon, but for those within the brackets of an address.
fn scp(text: &str) -> Option<(&str, &str)> {
    let within = text.find('[').filter(|open| !text[..*open].contains([':', '/']));
    let end = match within {
        Some(open) => open + text[open..].find("]:")? + 1,
        None => text.find(':')?,
    };
    Some((&text[..end], &text[end + 1..]))
}

/// `text` with its user and host decoded where Git decodes them: over SSH, and to its own daemon.
fn named_authority(text: &str) -> Result<Cow<'_, str>, String> {
    let Some((scheme, after)) = text.split_once("://") else { return Ok(text.into()) };
    let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
    let its_own = ["ssh", "git", "git+ssh", "ssh+git"].iter().any(|own| scheme.eq_ignore_ascii_case(own));
    // A port that is not said is the usual one (RFC 3986, section 3.2.3).
    let unsaid =
        authority.strip_suffix(':').filter(|host| !host.is_empty() && (!rest.contains('@') || host.contains('@')));
    let authority = unsaid.unwrap_or(authority);
    if !its_own || !authority.contains('%') {
        return Ok(format!("{scheme}://{authority}{rest}").into());
    }
    let wrong = || format!("{} has a `%` before its path that stands for no letter of a name", secretless(text));
    let authority = decoded(text, authority).ok().and_then(|authority| String::from_utf8(authority).ok());
    let authority = authority.filter(|authority| !authority.contains(['/', '?', '#', '%'])).ok_or_else(wrong)?;
    Ok(format!("{scheme}://{authority}{rest}").into())
}

/// What begins with a tilde is somebody's home, though a slash stands before it in a URL.
fn of_home(path: &str) -> &str {
    path.strip_prefix('/').filter(|path| path.starts_with('~')).unwrap_or(path)
}

/// A path in a URL, decoded (RFC 3986, section 2.1): Git's servers are told it as it is.
fn named(text: &str, path: &str) -> Result<String, String> {
    let decoded = decoded(text, path)?;
    String::from_utf8(decoded).map_err(|_| format!("{} names a path that is not UTF-8", quoted(text)))
}

/// The path of `file://` and `after` it (RFC 8089), decoded.
fn file(text: &str, after: &str) -> Result<PathBuf, String> {
    let refused = |why: &str| Err(format!("{} {why}", secretless(text)));
    let host = after.find('/').unwrap_or(after.len());
    let (host, path) = after.split_at(host);
    if !(host.is_empty() || host.eq_ignore_ascii_case("localhost")) || path.is_empty() {
        return refused("is no place on this machine: write \"file:///PATH\", with the whole path");
    }
    if path.contains(['?', '#']) {
        return refused("has something behind its path; where the path has a `?` or `#`, write %3F, %23");
    }
    Ok(OsString::from_vec(decoded(text, path)?).into())
}

fn decoded(text: &str, path: &str) -> Result<Vec<u8>, String> {
    let refused = |why: &str| Err(format!("{} {why}", quoted(text)));
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|byte| u8::try_from(char::from(byte).to_digit(16)?).ok());
        decoded.push(match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return refused("has a `%` without two hexadecimal digits; for itself write %25"),
            },
            byte => byte,
        });
    }
    if decoded.iter().any(u8::is_ascii_control) {
        return refused("has a control character");
    }
    Ok(decoded)
}

/// `key` and `passphrase`: what we show an SSH server.
fn key(table: &mut Table<'_>) -> Option<Key> {
    let entry = table.entry("key");
    let passphrase = table.secret("passphrase");
    let entry = entry?;
    let text = entry.text(|text| Ok(text.to_owned()))?;
    let agent = if text == "agent" { Some("env:SSH_AUTH_SOCK") } else { text.strip_prefix("agent:") };
    if let Some(socket) = agent {
        if passphrase.is_some() {
            entry.report("is an agent, which asks for passphrases itself");
        }
        return entry.socket(socket).map(Key::Agent);
    }
    let Some(seed) = text.strip_prefix("seed:") else {
        return Some(Key::Stored { at: entry.secret(&text)?, passphrase });
    };
    if passphrase.is_some() {
        entry.report("is a seed, which has no passphrase");
    }
    let (kind, at) = seed.split_once(':').unwrap_or((seed, ""));
    let kind = entry.text(|_| kind_of(kind))?;
    Some(Key::Seed { at: entry.secret(at)?, kind })
}

/// `ed25519`, or `rsa-BITS`.
fn kind_of(text: &str) -> Result<Kind, String> {
    let bits = text.strip_prefix("rsa-").and_then(|bits| bits.parse().ok());
    match (text, bits) {
        ("ed25519", _) => Ok(Kind::Ed25519),
        (_, Some(bits)) => {
            let kind = Kind::Rsa(bits);
            kind.check_for_seed().map_err(|error| error.to_string())?;
            Ok(kind)
        }
        _ => Err(format!("{} is no key: write \"seed:ed25519:FILE\" or \"seed:rsa-3072:FILE\"", quoted(text))),
    }
}

/// Without what may be a secret.
fn shown(url: &Url<'_>) -> String {
    let end = url.rest.find(['?', '#']).unwrap_or(url.rest.len());
    let cut = if end < url.rest.len() { "…" } else { "" };
    format!("{}://{}{}{cut}", url.scheme, url.host, &url.rest[..end])
}

fn suited(key: &str) -> &'static str {
    match key {
        "key" | "known_hosts" | "passphrase" | "pin" => "an address over SSH",
        _ => "an https:// URL",
    }
}

fn pin(text: &str) -> Result<String, String> {
    let digest = text.strip_prefix("SHA256:").map(|digest| digest.trim_end_matches('='));
    match digest {
        Some(digest)
            if digest.len() == 43 && digest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/') =>
        {
            Ok(format!("SHA256:{digest}"))
        }
        _ => Err(format!(
            "{} is not a fingerprint: `SHA256:` and 43 characters, as `ssh-keygen -l` prints it",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests;
