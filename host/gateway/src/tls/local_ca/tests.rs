use std::{os::unix::fs::PermissionsExt, sync::Mutex};

use rustls::RootCertStore;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Admits names under `test`, and notes what it was asked.
#[derive(Default)]
struct UnderTest(Mutex<Vec<String>>);

impl Admits for UnderTest {
    fn admits<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<bool>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(name.into());
            Some(name.strip_suffix(".test").is_some())
        })
    }
}

fn open(folder: &Path, now: SystemTime) -> LocalCa {
    LocalCa::open(folder, Arc::new(UnderTest::default()), now).unwrap()
}

fn roots(authority: &LocalCa) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    roots
}

#[tokio::test]
async fn names_that_are_admitted_get_a_certificate_that_the_root_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let admits = Arc::new(UnderTest::default());
    let authority = LocalCa::open(folder.path(), admits.clone(), now).unwrap();
    let elsewhere = "127.0.0.2".parse().unwrap();
    let table = [
        (Some("localhost"), HERE, Some("localhost")),
        (None, HERE, Some("127.0.0.1")),
        (None, Ipv6Addr::LOCALHOST.into(), Some("[::1]")),
        (None, elsewhere, None),
        (Some("a.test"), elsewhere, Some("a.test")),
        (Some("a.test"), HERE, Some("a.test")),
        (Some("a.example"), HERE, None),
        (Some("a.example"), HERE, None),
    ];
    for (name, local, expected) in table {
        let certificate = authority.certificate(name, local, now).await.unwrap();
        assert_eq!(certificate.is_some(), expected.is_some(), "{name:?} {local}");
        if let (Some(certificate), Some(expected)) = (certificate, expected) {
            assert!(certificate.covers(expected), "{name:?} {local}");
            assert!(certificate.check_trust(&roots(&authority), now));
            assert!(!certificate.covers("b.test"));
        }
    }
    assert_eq!(*admits.0.lock().unwrap(), ["a.test", "a.test", "a.example", "a.example"]);
}

/// A route that is taken away takes the certificate with it.
#[tokio::test]
async fn a_name_that_is_nobodys_any_more_gets_none() {
    struct Until(Mutex<Option<bool>>);
    impl Admits for Until {
        fn admits<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<bool>> {
            Box::pin(async { *self.0.lock().unwrap() })
        }
    }
    let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let admits = Arc::new(Until(Mutex::default()));
    let authority = LocalCa::open(folder.path(), admits.clone(), now).unwrap();
    // Where nobody can tell, the one that was made serves, and none is made.
    for (admitted, expected) in [(None, false), (Some(true), true), (None, true), (Some(false), false)] {
        *admits.0.lock().unwrap() = admitted;
        let certificate = authority.certificate(Some("a.test"), HERE, now).await.unwrap();
        assert_eq!(certificate.is_some(), expected, "{admitted:?}");
    }
}

#[tokio::test]
async fn a_thousand_are_kept_and_the_one_unused_for_longest_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = open(folder.path(), now);
    let ask = async |name: &str| authority.certificate(Some(name), HERE, now).await.unwrap().unwrap();
    let (first, second) = (ask("first.test").await, ask("second.test").await);
    for number in 2..LEAVES {
        ask(&format!("{number}.test")).await;
    }
    assert!(Arc::ptr_eq(&first, &ask("first.test").await));
    ask("another.test").await;
    assert_eq!(authority.leaves.read().unwrap().len(), LEAVES);
    assert!(Arc::ptr_eq(&first, &ask("first.test").await));
    assert!(!Arc::ptr_eq(&second, &ask("second.test").await));
}

#[tokio::test]
async fn leaves_are_made_anew_before_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = open(folder.path(), now);
    let at = async |now| authority.certificate(Some("a.test"), HERE, now).await.unwrap().unwrap();
    let first = at(now).await;
    assert!(Arc::ptr_eq(&first, &at(now + DAY * 82).await));
    let later = now + DAY * 84;
    let second = at(later).await;
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(second.check_trust(&roots(&authority), later + DAY * 80));
}

#[tokio::test]
async fn a_restart_keeps_the_authority_and_its_key_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state/ca");
    let now = SystemTime::now();
    let root = open(&folder, now).root_pem().to_owned();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("key.pem"))), (0o700, 0o600));
    assert_eq!(fs::read_to_string(folder.join("root.pem")).unwrap(), root);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["key.pem", "root.pem"]);
    assert_eq!(open(&folder, now).root_pem(), root);

    // A root that is lost, damaged, another's, or about to end is made anew; who trusts the old one trusts the leaves.
    let stranger = tempfile::tempdir().unwrap();
    let strange = open(stranger.path(), now).root_pem().to_owned();
    for damage in ["", "nonsense", strange.as_str()] {
        fs::write(folder.join("root.pem"), damage).unwrap();
        let again = open(&folder, now);
        assert_ne!(again.root_pem(), damage);
        assert_ne!(again.root_pem(), strange);
        let leaf = again.certificate(None, HERE, now).await.unwrap().unwrap();
        let mut old = RootCertStore::empty();
        old.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        assert!(leaf.check_trust(&old, now), "{damage:?}");
    }
    let kept = open(&folder, now).root_pem().to_owned();
    assert_ne!(open(&folder, now + DAY * 3600).root_pem(), kept);
}

#[test]
fn a_damaged_key_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    for damage in [&b"nonsense"[..], b"\xff\xfe", b""] {
        fs::write(&key, damage).unwrap();
        let error = LocalCa::open(folder.path(), Arc::new(UnderTest::default()), SystemTime::now());
        let expected = format!(
            "{}: not the key of a local certification authority; without the file, a new one is made",
            key.display()
        );
        assert_eq!(error.map(drop).unwrap_err().to_string(), expected);
        assert_eq!(fs::read(&key).unwrap(), damage);
    }
}
