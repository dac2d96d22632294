//! Whether a server is who it should be: by a `known_hosts` file as OpenSSH has it, or by one fingerprint. A key that is
//! not known is refused, with the line that would accept it; nothing is ever learned by itself.

use std::{fs, path::PathBuf};

use aws_lc_rs::hmac;
use russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate,
    ssh_key::{
        Fingerprint,
        certificate::CertType,
        known_hosts::{Entry, HostPatterns, Marker},
        public::KeyData,
    },
};

/// The largest `known_hosts` that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What a server's key is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A file in the form of sshd(8).
    KnownHosts(PathBuf),
    /// `SHA256:` and 43 characters.
    Pin(String),
    /// Nothing yet: whoever answers is refused, in words that say how to go on.
    Nobody,
}

/// That, for one server.
#[derive(Clone)]
pub(super) struct Trusted {
    /// As `known_hosts` names it.
    host: String,
    /// As a certificate does.
    name: String,
    by: By,
    /// Keys that it showed and that are not the pinned one.
    others: Vec<KeyData>,
    /// The type that the pinned one was of.
    first: Option<Algorithm>,
}

#[derive(Clone)]
enum By {
    Lines { file: String, lines: Vec<Line> },
    Pin(String),
    Nobody,
}

/// A line that is about this server.
#[derive(Clone)]
struct Line {
    number: usize,
    marker: Option<Marker>,
    key: PublicKey,
}

impl Line {
    fn revokes(&self, key: &KeyData) -> bool {
        self.marker == Some(Marker::Revoked) && self.key.key_data() == key
    }
}

impl Trust {
    /// Whether a server of this name could be let in on. Blocks.
    ///
    /// # Errors
    /// Why not, in words: a file that can't be read, or has nothing of it.
    pub fn check(&self, host: &str, port: u16) -> Result<(), String> {
        // Which takes an address of IPv6 without its brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let scan = if port == 22 { bare.to_owned() } else { format!("-p {port} {bare}") };
        match self.read(host, port)?.by {
            By::Nobody => Err(format!(
                "there is neither `known_hosts` nor `pin`, so every server is refused: make one, ssh-keyscan {scan} > known_hosts"
            )),
            By::Lines { file, lines } if lines.is_empty() => Err(format!(
                "{file} has no key of {host}, so it is refused: ssh-keyscan {scan} >> {file}, and compare it with what you know of it"
            )),
            By::Lines { file, lines } => {
                let revoked = |key: &Line| lines.iter().find(|line| line.revokes(key.key.key_data()));
                let mut known = lines.iter().map(revoked);
                match known.next().flatten() {
                    Some(Line { number, .. }) if known.all(|line| line.is_some()) => Err(format!(
                        "{file}:{number} revokes the key of {host}, and no other is there, so it is refused: ssh-keyscan {scan} >> {file}, and compare it with what you know of it"
                    )),
                    _ => Ok(()),
                }
            }
            By::Pin(_) => Ok(()),
        }
    }

    /// What it rests on, for comparison. Blocks.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        match self {
            // One that can't be read is found out by whoever connects.
            Self::KnownHosts(path) => {
                let fits = fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_FILE);
                vec![if fits { fs::read(path).unwrap_or_default() } else { Vec::new() }]
            }
            Self::Pin(_) | Self::Nobody => Vec::new(),
        }
    }

    /// Reads what there is about one server. A file is read anew for each connection.
    ///
    /// # Errors
    /// In words.
    pub(super) fn read(&self, host: &str, port: u16) -> Result<Trusted, String> {
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = if port == 22 { name.clone() } else { format!("[{name}]:{port}") };
        let by = match self {
            Self::Pin(pin) => By::Pin(pin.clone()),
            Self::Nobody => By::Nobody,
            Self::KnownHosts(path) => {
                let file = path.display().to_string();
                let metadata = fs::metadata(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
                if !metadata.is_file() {
                    return Err(format!("{file} is not a file"));
                }
                if metadata.len() > MAX_FILE {
                    return Err(format!("{file} has more than {MAX_FILE} bytes"));
                }
                let bytes = fs::read(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
                By::Lines { lines: about(&String::from_utf8_lossy(&bytes), &host, &name), file }
            }
        };
        Ok(Trusted { host, name, by, others: Vec::new(), first: None })
    }
}

impl Trusted {
    /// Where a key is pinned, asks for this type first.
    pub(super) fn begin_with(&mut self, proved: Option<Algorithm>) {
        self.first = proved.filter(|_| matches!(self.by, By::Pin(_)));
    }

    /// Which keys to ask the server for: those that are known of it first, since it has several, and none of a type that it
    /// has shown one of. Never RSA with SHA-1.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let all = [
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ];
        let known = |algorithm: &Algorithm| {
            let lines = self.lines().filter(|line| line.marker.is_none()).map(|line| line.key.algorithm());
            lines.chain(self.first.clone()).any(|known| family(&known) == family(algorithm))
        };
        let shown = |algorithm: &Algorithm| self.others.iter().any(|key| family(&key.algorithm()) == family(algorithm));
        let (mut first, rest): (Vec<_>, Vec<_>) =
            all.into_iter().filter(|algorithm| !shown(algorithm)).partition(known);
        first.extend(rest);
        first
    }

    /// Goes on without the type of a key that is not the pinned one. False where there is none to go on with: a file of
    /// keys says of which types they are, and these were asked for first.
    pub(super) fn look_for_another(&mut self, shown: &KeyData) -> bool {
        let By::Pin(_) = self.by else { return false };
        let before = self.algorithms().len();
        self.others.push(shown.clone());
        // One that shows what it was not asked for would be asked without end.
        (1..before).contains(&self.algorithms().len())
    }

    /// Which certificates to ask for: any, where an authority is known, else none.
    pub(super) fn certificates(&self) -> Vec<Algorithm> {
        let authority = self.lines().any(|line| line.marker == Some(Marker::CertAuthority));
        if authority { self.algorithms() } else { Vec::new() }
    }

    /// # Errors
    /// Why not, in words.
    pub(super) fn check(&self, shown: &PublicKeyOrCertificate, now: u64) -> Result<(), String> {
        let (key, certificate) = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => (key.key_data(), None),
            PublicKeyOrCertificate::Certificate(certificate) => (certificate.public_key(), Some(certificate)),
        };
        let host = &self.host;
        let print = key.fingerprint(HashAlg::Sha256).to_string();
        let is = named(key);
        let (file, lines) = match &self.by {
            By::Pin(pin) if certificate.is_none() && *pin == print => return Ok(()),
            By::Pin(pin) if self.others.is_empty() => {
                return Err(format!(
                    "the host key of {host} is not the one that is pinned, {pin}: somebody may be in the middle. It is {is}; if that is right, write pin = \"{print}\""
                ));
            }
            By::Pin(pin) => {
                let all: Vec<_> = self.others.iter().chain([key]).map(named).collect();
                return Err(format!(
                    "none of the host keys of {host} is the one that is pinned, {pin}: somebody may be in the middle. They are {}; if one of them is right, write pin = \"{}\", or another's",
                    all.join(", "),
                    self.others[0].fingerprint(HashAlg::Sha256)
                ));
            }
            By::Nobody => {
                return Err(format!(
                    "the host key of {host} is {is}, and none is known; if it is right, write pin = \"{print}\""
                ));
            }
            By::Lines { file, lines } => (file, lines),
        };
        let revoked = |key: &KeyData| lines.iter().find(|line| line.revokes(key));
        if let Some(line) = revoked(key).or_else(|| revoked(certificate?.signature_key())) {
            return Err(format!("the host key of {host}, {is}, is revoked in {file}:{}", line.number));
        }
        let vouched = certificate.map(|certificate| self.vouched(certificate, (file, lines), now));
        let plain = || lines.iter().filter(|line| line.marker.is_none());
        // A certificate of no use takes nothing from a key that is known by itself, as in OpenSSH.
        if matches!(vouched, Some(Ok(()))) || plain().any(|line| line.key.key_data() == key) {
            return Ok(());
        }
        if let Some(Err(why)) = vouched {
            return Err(format!("the host key of {host} is {is}, and its certificate {why}"));
        }
        let accepting = format!("{host} {}", bare(key));
        let same = |line: &&Line| family(&line.key.algorithm()) == family(&key.algorithm());
        let known = plain().find(same).map(|line| (line, "in its place"));
        // It was asked for the known one first.
        Err(match known.or_else(|| Some((plain().next()?, "beside it"))) {
            Some((Line { number, key, .. }, place)) => format!(
                "the host key of {host} has changed: somebody may be in the middle. It is {is}, and {file}:{number} has {} {}; if the new one is right, this line {place} accepts it: {accepting}",
                family(&key.algorithm()),
                key.fingerprint(HashAlg::Sha256)
            ),
            None => format!(
                "the host key of {host} is {is}, and not in {file}; if it is right, this line there accepts it: {accepting}"
            ),
        })
    }

    /// # Errors
    /// What is wrong with the certificate, in words.
    fn vouched(&self, certificate: &Certificate, (file, lines): (&str, &[Line]), now: u64) -> Result<(), String> {
        let authorities: Vec<Fingerprint> = lines
            .iter()
            .filter(|line| line.marker == Some(Marker::CertAuthority))
            .map(|line| line.key.fingerprint(HashAlg::Sha256))
            .collect();
        let signer = certificate.signature_key();
        let print = signer.fingerprint(HashAlg::Sha256);
        let principals = certificate.valid_principals();
        // Plain names, as OpenSSH has it; of none, it is for every host.
        let named =
            principals.is_empty() || principals.iter().any(|principal| principal.eq_ignore_ascii_case(&self.name));
        if certificate.cert_type() != CertType::Host {
            Err("is not for a host".to_owned())
        } else if !named {
            let first: String = principals.iter().flat_map(|first| first.chars().chain([' '])).take(255).collect();
            Err(format!("is for {}", first.trim_end().escape_debug()))
        } else if !certificate.critical_options().is_empty() {
            Err("has options that are not known here".to_owned())
        } else if !authorities.contains(&print) {
            Err(format!(
                "is of the authority {} {print}, which is not in {file}; if it is right, this line there accepts it: @cert-authority {} {}",
                signer.algorithm().as_str(),
                self.host,
                bare(signer)
            ))
        } else if now >= certificate.valid_before() {
            Err("has expired".to_owned())
        } else if now < certificate.valid_after() {
            Err("is not valid yet".to_owned())
        } else if certificate.validate_at(now, &authorities).is_err() {
            Err("is not signed as it says".to_owned())
        } else {
            Ok(())
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        let lines = if let By::Lines { lines, .. } = &self.by { &lines[..] } else { &[] };
        lines.iter()
    }
}

/// Its type and its fingerprint.
fn named(key: &KeyData) -> String {
    format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256))
}

/// Its type and itself, as a line has them.
fn bare(key: &KeyData) -> String {
    PublicKey::new(key.clone(), "").to_openssh().unwrap_or_default().trim_end().to_owned()
}

/// Whatever it is signed with.
fn family(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa".to_owned(),
        algorithm => algorithm.as_str().to_owned(),
    }
}

/// The lines of a `known_hosts` that are about `host`, or vouch for keys of it by its `name` on whatever port, or revoke them.
/// One that cannot be read is as good as none. All as in OpenSSH.
fn about(text: &str, host: &str, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // In OpenSSH any blanks part the fields.
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let Ok(entry) = line.parse::<Entry>() else { continue };
        let patterns = entry.host_patterns();
        if is_about(patterns, host) || (entry.marker().is_some() && is_about(patterns, name)) {
            lines.push(Line { number, marker: entry.marker().copied(), key: entry.public_key().clone() });
        }
    }
    lines
}

fn is_about(patterns: &HostPatterns, host: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, host.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let (denied, allowed): (Vec<_>, Vec<_>) = patterns.iter().partition(|pattern| pattern.starts_with('!'));
            allowed.iter().any(|pattern| matches(pattern, host))
                && !denied.iter().any(|pattern| matches(&pattern[1..], host))
        }
    }
}

/// `*` stands for any characters, `?` for one; letters match in either case.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.as_bytes(), host.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where to go on after a star, if what follows it does not match here.
    let mut star = None;
    while seen < host.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&host[seen]) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                at = after + 1;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
