//! The manifest's certificates: PEM pairs, read and checked, and what is said of them while they serve.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use atoll_gateway::tls::{Certificate, Resolver, Source, pair};
use jiff::Timestamp;

use crate::{
    control::messages::CertificateStatus,
    manifest::{Manifest, Pair},
    problem::{Problem, Problems},
    text::chain,
};

/// The longest time before its end at which a certificate is spoken of: whoever renews it has failed by then.
const LATE: Duration = Duration::from_hours(14 * 24);

/// A pair of the manifest, and where it was said.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) certificate: Arc<Certificate>,
    pair: Pair,
}

impl Said {
    fn read(pair: &Pair) -> Result<Self, Problem> {
        let certificate = read(pair).map_err(|error| pair.place.problem(chain(error.as_ref())))?;
        Ok(Self { certificate: Arc::new(certificate), pair: pair.clone() })
    }

    /// Why clients do not take it at that time, or soon will not.
    fn warning(&self, now: SystemTime) -> Option<Problem> {
        let (begins, ends) = (self.certificate.begins(), self.certificate.ends());
        let life = ends.duration_since(begins).unwrap_or_default();
        let words = match ends.duration_since(now) {
            Err(_) => format!("expired on {}", date(ends)),
            Ok(_) if now < begins => format!("is not valid before {}", date(begins)),
            Ok(left) if left < LATE.min(life / 3) => format!("expires on {}: renew it", date(ends)),
            Ok(_) => return None,
        };
        Some(self.pair.place.problem(format!("{} {words}", self.pair.chain.display())))
    }

    /// That one of its names has a good certificate `before` it, which is the one that is served.
    fn unused(&self, before: &[Self], now: SystemTime) -> Option<Problem> {
        let mut good = before.iter().filter(|before| before.certificate.is_valid_at(now));
        let (name, first) = good.find_map(|first| {
            let name = self.certificate.names().find(|name| first.certificate.names().any(|other| other == *name))?;
            Some((name, first))
        })?;
        let (own, first) = (self.pair.chain.display(), first.pair.chain.display());
        Some(self.pair.place.problem(format!("{own} is not served for {name}: {first} stands before it, and is good")))
    }
}

/// All of them.
///
/// # Errors
/// What is wrong with any.
pub(super) fn load(manifest: &Manifest) -> Result<Vec<Said>, Problems> {
    let (said, problems) = read_all(manifest);
    if problems.is_empty() { Ok(said) } else { Err(Problems(problems)) }
}

/// What is wrong with them, and what should be said about them.
pub(super) fn check(manifest: &Manifest) -> (Vec<Problem>, Vec<Problem>) {
    let (said, problems) = read_all(manifest);
    (problems, warnings(&said, SystemTime::now()))
}

fn read_all(manifest: &Manifest) -> (Vec<Said>, Vec<Problem>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for pair in &manifest.certificates {
        match Said::read(pair) {
            Ok(said) => all.push(said),
            Err(problem) => problems.push(problem),
        }
    }
    (all, problems)
}

/// What should be said about them at that time.
pub(super) fn warnings(said: &[Said], now: SystemTime) -> Vec<Problem> {
    let itself = said.iter().filter_map(|said| said.warning(now));
    itself.chain(said.iter().enumerate().filter_map(|(at, one)| one.unused(&said[..at], now))).collect()
}

/// Has a resolver serve them, as they are at that time.
pub(super) fn serve(resolver: &Resolver, said: &[Said], now: SystemTime) {
    resolver.replace(&said.iter().map(|said| said.certificate.clone()).collect::<Vec<_>>(), now);
}

/// Whether names of which a good certificate is served now would still have one.
///
/// # Errors
/// Those that would stand in its place, and are out of their time.
pub(super) fn no_worse(said: &[Said], before: &[Said], now: SystemTime) -> Result<(), Problems> {
    let next = Resolver::default();
    serve(&next, said, now);
    let mut worse: Vec<(Arc<Certificate>, SystemTime)> = Vec::new();
    for good in before.iter().map(|said| &said.certificate).filter(|before| before.is_valid_at(now)) {
        // Of a wildcard, one of its names stands for all.
        let by_name = good.names().filter_map(|name| next.by_name(&name.replacen('*', "any", 1)));
        let by_address = good.addresses().iter().filter_map(|address| next.by_address(*address));
        let bad = by_name.chain(by_address).filter(|other| !other.is_valid_at(now));
        worse.extend(bad.map(|other| (other, good.ends())));
    }
    let problem = |said: &Said| {
        let (_, ends) = worse.iter().find(|(other, _)| Arc::ptr_eq(other, &said.certificate))?;
        let mut problem = said.warning(now)?;
        problem.message = format!("{}; the one that serves now is valid until {}", problem.message, date(*ends));
        Some(problem)
    };
    let problems: Vec<Problem> = said.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// That names which were covered are not any more.
pub(super) fn lost(said: &[Said], before: &[Said]) -> Vec<String> {
    let covered = |name: &str| {
        let mut all = said.iter().map(|said| &said.certificate);
        all.any(|other| other.covers(name) || other.names().any(|other| other == name))
    };
    let names = before.iter().flat_map(|said| said.certificate.names());
    names.filter(|name| !covered(name)).map(|name| format!("no certificate covers {name} any more")).collect()
}

/// The files of those that are others than before, with the end of each.
pub(super) fn renewed(said: &[Said], before: &[Said]) -> Vec<String> {
    let known = |said: &&Said| before.iter().any(|before| before.certificate.is(&said.certificate));
    let new = said.iter().filter(|said| !known(said));
    new.map(|said| format!("{}, valid until {}", said.pair.chain.display(), date(said.certificate.ends()))).collect()
}

/// What `host ps` shows of them.
pub(super) fn status(said: &[Said], now: SystemTime) -> Vec<CertificateStatus> {
    let status = |said: &Said| {
        let (names, addresses) = (said.certificate.names(), said.certificate.addresses().iter());
        CertificateStatus {
            chain: said.pair.chain.display().to_string(),
            names: names.map(str::to_owned).chain(addresses.map(ToString::to_string)).collect(),
            expires: date(said.certificate.ends()),
            warning: said.warning(now).map(|problem| problem.to_string()),
        }
    };
    said.iter().map(status).collect()
}

fn read(pair: &Pair) -> anyhow::Result<Certificate> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} can't be read", path.display()));
    let (chain, key) = (read(&pair.chain)?, read(&pair.key)?);
    let (chain_file, key_file) = (pair.chain.display().to_string(), pair.key.display().to_string());
    let chain = Source { file: &chain_file, bytes: &chain };
    Ok(self::pair(chain, Source { file: &key_file, bytes: &key })?)
}

/// RFC 3339, in UTC.
fn date(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).and_then(|time| time.round(jiff::Unit::Second));
    time.map_or_else(|_| "a day beyond the calendar".into(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_for_one_name_the_second_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let day = |day: u8| SystemTime::from(rcgen::date_time_ymd(2026, 11, day));
        let said = |file: &str, names: &[&str], until: u8| {
            let (chain, key) = (folder.path().join(file), folder.path().join(format!("{file}.key")));
            let key_pair = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>());
            let params = params.as_mut().unwrap();
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2026, 11, 1), rcgen::date_time_ymd(2026, 11, until));
            fs::write(&chain, params.clone().self_signed(&key_pair).unwrap().pem()).unwrap();
            fs::write(&key, key_pair.serialize_pem()).unwrap();
            Said::read(&Pair { chain, key, place: crate::problem::Place::default() }).unwrap()
        };
        let all = [
            said("old.pem", &["a.test"], 5),
            said("a.pem", &["a.test"], 30),
            said("b.pem", &["b.test", "*.a.test"], 30),
            said("both.pem", &["c.test", "a.test"], 30),
        ];
        let told = |now| warnings(&all, day(now)).into_iter().map(|problem| problem.message).collect::<Vec<_>>();
        let at = |file: &str| folder.path().join(file).display().to_string();
        let stands = |own: &str, first: &str| {
            format!("{} is not served for a.test: {} stands before it, and is good", at(own), at(first))
        };
        assert_eq!(told(10)[1..], [stands("both.pem", "a.pem")]);
        assert_eq!(told(2), [stands("a.pem", "old.pem"), stands("both.pem", "old.pem")]);
    }

    #[test]
    fn a_certificate_is_spoken_of_when_its_end_is_near() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
        let key_pair = rcgen::KeyPair::generate().unwrap();
        fs::write(&key, key_pair.serialize_pem()).unwrap();
        let day = |day: u8| SystemTime::from(rcgen::date_time_ymd(2026, 11, day));
        for (from, until, now, expected) in [
            (1, 30, 20, None),
            (1, 30, 21, Some("expires on 2026-11-30T00:00:00Z: renew it")),
            (1, 7, 4, None),
            (1, 7, 6, Some("expires on 2026-11-07T00:00:00Z: renew it")),
            (1, 7, 8, Some("expired on 2026-11-07T00:00:00Z")),
            (3, 7, 2, Some("is not valid before 2026-11-03T00:00:00Z")),
        ] {
            let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2026, 11, from);
            params.not_after = rcgen::date_time_ymd(2026, 11, until);
            fs::write(&chain, params.self_signed(&key_pair).unwrap().pem()).unwrap();
            let pair = Pair { chain: chain.clone(), key: key.clone(), place: crate::problem::Place::default() };
            let said = Said::read(&pair).unwrap().warning(day(now)).map(|problem| problem.message);
            assert_eq!(
                said,
                expected.map(|words| format!("{} {words}", chain.display())),
                "{from} to {until} on {now}"
            );
        }
    }
}
