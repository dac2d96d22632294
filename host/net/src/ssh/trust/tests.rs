use russh::keys::{
    PrivateKey,
    ssh_key::{
        certificate::Builder,
        private::{Ed25519Keypair, KeypairData},
    },
};

use super::*;

const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMxBTpMIGvo7CnordO7wP0QQRqpBwUjOLl4eMhfucfE1sjTYyK5wmTl1UqoSDS1PtRVTBdl+0+9pquFb46U7fwg=";

fn key(text: &str) -> PublicKey {
    text.parse().unwrap()
}

fn check(file: &str, host: &str, port: u16, shown: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, file).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read(host, port).unwrap();
    let said = trusted.check(&key(shown).into(), 0);
    said.map_err(|words| words.replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn keys_that_are_known_and_that_are_not() {
    let print = key(ONE).fingerprint(HashAlg::Sha256).to_string();
    let is = format!("ssh-ed25519 {print}");
    // ssh-keygen -H made these two.
    let unknown = |host: &str| {
        Err(format!(
            "the host key of {host} is {is}, and not in FILE; if it is right, this line there accepts it: {host} {ONE}"
        ))
    };
    let printed = |line: &str| key(line).fingerprint(HashAlg::Sha256).to_string();
    let changed = |known: &str, place: &str| {
        Err(format!(
            "the host key of a.test has changed: somebody may be in the middle. It is {is}, and {known}; if the new one is right, this line {place} accepts it: a.test {ONE}"
        ))
    };
    for (file, host, port, said) in [
        (format!("a.test {ONE}\n"), "a.test", 22, Ok(())),
        (format!("# {OTHER}\n\nb.test,A.test\t {ONE} a comment\n"), "a.test", 22, Ok(())),
        (format!("[a.test]:2222 {ONE}\n"), "a.test", 2222, Ok(())),
        (format!("a.test {ONE}\n"), "a.test", 2222, unknown("[a.test]:2222")),
        (format!("*.test,!b.test {ONE}\n"), "a.test", 22, Ok(())),
        (format!("*.test,!b.test {ONE}\n"), "b.test", 22, unknown("b.test")),
        (format!("10.0.0.? {ONE}\n"), "10.0.0.1", 22, Ok(())),
        (String::new(), "a.test", 22, unknown("a.test")),
        ("nonsense\n@odd a.test x\n".into(), "a.test", 22, unknown("a.test")),
        (
            format!("# x\na.test {ECDSA}\n"),
            "a.test",
            22,
            changed(&format!("FILE:2 has ecdsa-sha2-nistp256 {}", printed(ECDSA)), "beside it"),
        ),
        // Of its own type first.
        (
            format!("a.test {ECDSA}\na.test {OTHER}\n"),
            "a.test",
            22,
            changed(&format!("FILE:2 has ssh-ed25519 {}", printed(OTHER)), "in its place"),
        ),
        (
            format!("b.test {ONE}\na.test {OTHER}\n"),
            "a.test",
            22,
            changed(&format!("FILE:2 has ssh-ed25519 {}", printed(OTHER)), "in its place"),
        ),
        (
            format!("a.test {ONE}\n@revoked * {ONE}\n"),
            "a.test",
            22,
            Err(format!("the host key of a.test, {is}, is revoked in FILE:2")),
        ),
        (
            format!("[a.test]:2222 {ONE}\n@revoked a.test {ONE}\n"),
            "a.test",
            2222,
            Err(format!("the host key of [a.test]:2222, {is}, is revoked in FILE:2")),
        ),
        // An authority's key is no host's.
        (format!("@cert-authority a.test {ONE}\n"), "a.test", 22, unknown("a.test")),
    ] {
        assert_eq!(check(&file, host, port, ONE), said, "{file}");
    }
}

#[test]
fn certificates_that_are_vouched_for_and_that_are_not() {
    let signing = |seed: u8| PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&[seed; 32])), "").unwrap();
    let (ours, theirs) = (signing(1), signing(2));
    let line = |key: &PrivateKey| bare(key.public_key().key_data());
    let certified = |by: &PrivateKey, kind: CertType, name: &str, option: Option<&str>| {
        let mut made = Builder::new([7; 16], key(ONE).key_data().clone(), 100, 200).unwrap();
        made.cert_type(kind).unwrap().key_id("x").unwrap();
        if name.is_empty() {
            made.all_principals_valid().unwrap();
        } else {
            made.valid_principal(name).unwrap();
        }
        if let Some(option) = option {
            made.critical_option(option, "x").unwrap();
        }
        PublicKeyOrCertificate::Certificate(made.sign(by).unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, format!("@cert-authority *.test {}\n", line(&ours))).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read("a.test", 2222).unwrap();
    assert_eq!(trusted.certificates().len(), 6, "an authority's word counts on each port");
    trusted.check(&certified(&ours, CertType::Host, "a.test", None), 100).unwrap();
    std::fs::write(&path, format!("@cert-authority b.test {}\n", line(&ours))).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read("a.test", 2222).unwrap();
    assert!(trusted.certificates().is_empty());
    std::fs::write(&path, format!("@cert-authority [*.test]:* {}\n", line(&ours))).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read("a.test", 2222).unwrap();
    assert_eq!(trusted.certificates().len(), 6);
    let print = key(ONE).fingerprint(HashAlg::Sha256);
    let stranger = format!(
        "is of the authority ssh-ed25519 {}, which is not in FILE; if it is right, this line there accepts it: @cert-authority [a.test]:2222 {}",
        theirs.fingerprint(HashAlg::Sha256),
        line(&theirs)
    );
    for (by, kind, name, option, now, said) in [
        (&ours, CertType::Host, "a.test", None, 100, None),
        (&ours, CertType::Host, "A.Test", None, 199, None),
        (&ours, CertType::Host, "a.*", None, 100, Some("is for a.*")),
        // Of no name at all: for every host.
        (&ours, CertType::Host, "", None, 100, None),
        (&ours, CertType::User, "a.test", None, 100, Some("is not for a host")),
        (&ours, CertType::Host, "b.test", None, 100, Some("is for b.test")),
        (&ours, CertType::Host, "a.test", Some("x"), 100, Some("has options that are not known here")),
        (&ours, CertType::Host, "a.test", None, 99, Some("is not valid yet")),
        (&ours, CertType::Host, "a.test", None, 200, Some("has expired")),
        (&theirs, CertType::Host, "a.test", None, 100, Some(&*stranger)),
    ] {
        let checked = trusted.check(&certified(by, kind, name, option), now);
        let checked = checked.map_err(|words| words.replace(path.to_str().unwrap(), "FILE"));
        let expected = said.map_or(Ok(()), |why| {
            Err(format!("the host key of [a.test]:2222 is ssh-ed25519 {print}, and its certificate {why}"))
        });
        assert_eq!(checked, expected);
    }
    // Of a key that is known by itself it takes nothing.
    let known = format!("@cert-authority [*.test]:* {}\n[a.test]:2222 {}\n", line(&ours), bare(key(ONE).key_data()));
    std::fs::write(&path, &known).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read("a.test", 2222).unwrap();
    for (by, name, now) in [(&ours, "a.test", 200), (&ours, "b.test", 100), (&theirs, "a.test", 100)] {
        assert_eq!(trusted.check(&certified(by, CertType::Host, name, None), now), Ok(()));
    }
    std::fs::write(&path, format!("{known}@revoked [a.test]:2222 {}\n", bare(key(ONE).key_data()))).unwrap();
    let trusted = Trust::KnownHosts(path.clone()).read("a.test", 2222).unwrap();
    let expected = format!("the host key of [a.test]:2222, ssh-ed25519 {print}, is revoked in {}:3", path.display());
    assert_eq!(trusted.check(&certified(&ours, CertType::Host, "a.test", None), 100), Err(expected));
}

#[test]
fn names_may_be_hashed() {
    let hash = |name: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[7; 20]);
        HostPatterns::HashedName {
            salt: vec![7; 20],
            hash: hmac::sign(&key, name.as_bytes()).as_ref().try_into().unwrap(),
        }
    };
    assert!(is_about(&hash("a.test"), "a.test"));
    assert!(!is_about(&hash("a.test"), "b.test"));
}

#[test]
fn pins() {
    let print = key(ONE).fingerprint(HashAlg::Sha256).to_string();
    let other = key(OTHER).fingerprint(HashAlg::Sha256).to_string();
    let said = |trust: Trust| trust.read("a.test", 22).unwrap().check(&key(ONE).into(), 0);
    assert_eq!(said(Trust::Pin(print.clone())), Ok(()));
    assert_eq!(
        said(Trust::Pin(other.clone())),
        Err(format!(
            "the host key of a.test is not the one that is pinned, {other}: somebody may be in the middle. It is ssh-ed25519 {print}; if that is right, write pin = \"{print}\""
        ))
    );
    assert_eq!(
        said(Trust::Nobody),
        Err(format!(
            "the host key of a.test is ssh-ed25519 {print}, and none is known; if it is right, write pin = \"{print}\""
        ))
    );
}

#[test]
fn a_server_is_asked_for_the_keys_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, format!("a.test {ECDSA}\n")).unwrap();
    let trusted = Trust::KnownHosts(path).read("a.test", 22).unwrap();
    let algorithms: Vec<String> = trusted.algorithms().iter().map(|known| known.as_str().to_owned()).collect();
    assert_eq!(algorithms[0], "ecdsa-sha2-nistp256");
    assert_eq!(algorithms.len(), 6);
    assert!(!algorithms.contains(&"ssh-rsa".to_owned()));
    assert!(trusted.certificates().is_empty());
}

#[test]
fn a_pinned_key_is_looked_for_among_all_types_once_each() {
    let print = |line: &str| key(line).fingerprint(HashAlg::Sha256).to_string();
    let mut trusted = Trust::Pin(print(OTHER)).read("a.test", 22).unwrap();
    let names = |trusted: &Trusted| -> Vec<String> { trusted.algorithms().iter().map(ToString::to_string).collect() };
    let (one, ecdsa) = (key(ONE).key_data().clone(), key(ECDSA).key_data().clone());
    assert_eq!(names(&trusted).len(), 6);
    assert!(trusted.look_for_another(&one));
    assert_eq!(
        names(&trusted),
        ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"]
    );
    assert_eq!(
        trusted.check(&key(ECDSA).into(), 0).unwrap_err(),
        format!(
            "none of the host keys of a.test is the one that is pinned, {}: somebody may be in the middle. They are ssh-ed25519 {}, ecdsa-sha2-nistp256 {}; if one of them is right, write pin = \"{1}\", or another's",
            print(OTHER),
            print(ONE),
            print(ECDSA)
        )
    );
    // What it was not asked for any more.
    assert!(!trusted.clone().look_for_another(&one));
    assert!(trusted.look_for_another(&ecdsa));
    assert_eq!(trusted.check(&key(OTHER).into(), 0), Ok(()));
    // And first of all, the next time, for the type that it was of; if it is of that no more, for the others as before.
    let mut trusted = Trust::Pin(print(OTHER)).read("a.test", 22).unwrap();
    trusted.begin_with(Some(Algorithm::Rsa { hash: None }));
    assert_eq!(names(&trusted)[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
    assert_eq!(names(&trusted).len(), 6);
    assert!(trusted.look_for_another(&one));
    assert_eq!(names(&trusted)[..3], ["rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256"]);
    // A file says of which types they are.
    let mut nobody = Trust::Nobody.read("a.test", 22).unwrap();
    assert!(!nobody.look_for_another(&one));
}

/// A comment in another encoding is nobody's business: the lines after it count.
#[test]
fn a_line_that_is_not_utf_8_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let lines = [b"# f\xfcr uns\na.test \xff\n", format!("a.test {ONE}\n").as_bytes()].concat();
    std::fs::write(&path, lines).unwrap();
    let trusted = Trust::KnownHosts(path).read("a.test", 22).unwrap();
    assert_eq!(trusted.check(&key(ONE).into(), 0), Ok(()));
}
