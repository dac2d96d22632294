use std::time::SystemTime;

use rustls::{RootCertStore, pki_types::ServerName};
use webpki::EndEntityCert;

use super::*;
use crate::tls::testing::Authority;

#[test]
fn names_are_exact_or_wildcards_of_one_label() {
    let authority = Authority::new("names");
    let certificates = [
        authority.issue(&["a.test"]),
        authority.issue(&["*.b.test", "x.b.test", "B.test"]),
        authority.issue(&["y.b.test", "a.test"]),
        authority.issue(&["localhost", "127.0.0.1", "::1"]),
        authority.issue(&["xn--bcher-kva.test", "*.c.d.test"]),
    ];
    let resolver = Resolver::default();
    resolver.replace(&certificates, std::time::SystemTime::now());
    let table = [
        ("a.test", Some(0)),
        ("x.b.test", Some(1)),
        ("y.b.test", Some(2)),
        ("z.b.test", Some(1)),
        ("b.test", Some(1)),
        ("x.y.b.test", None),
        (".b.test", None),
        ("*.b.test", None),
        ("xb.test", None),
        ("test", None),
        ("", None),
        (".", None),
        ("localhost", Some(3)),
        ("127.0.0.1", None),
        ("xn--bcher-kva.test", Some(4)),
        ("e.c.d.test", Some(4)),
        ("c.d.test", None),
        ("d.test", None),
    ];
    for (name, expected) in table {
        let found = resolver.by_name(name);
        let found = found.map(|found| certificates.iter().position(|other| Arc::ptr_eq(other, &found)).unwrap());
        assert_eq!(found, expected, "{name:?}");
    }
    let found = resolver.by_address("::1".parse().unwrap()).unwrap();
    assert!(Arc::ptr_eq(&found, &certificates[3]));
    assert!(resolver.by_address("127.0.0.2".parse().unwrap()).is_none());
}

#[test]
fn what_a_certificate_covers_is_what_clients_accept() {
    let authority = Authority::new("covers");
    let certificate = authority.issue(&["a.test", "*.b.test", "localhost", "127.0.0.1", "::1"]);
    let leaf = EndEntityCert::try_from(&certificate.chain()[0]).unwrap();
    let table = [
        ("a.test", true),
        ("x.b.test", true),
        ("b.test", false),
        ("x.y.b.test", false),
        ("*.b.test", false),
        ("a.test:443", false),
        ("x.a.test", false),
        ("localhost", true),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("[::1]", true),
        ("::1", true),
        ("[::2]", false),
        ("", false),
        ("a b", false),
    ];
    for (host, expected) in table {
        assert_eq!(certificate.covers(host), expected, "{host:?}");
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let accepted =
            ServerName::try_from(bare).is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok());
        assert_eq!(accepted, expected, "{host:?}");
    }
}

#[test]
fn a_chain_is_trusted_where_it_leads_to_a_root_in_its_time() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let certificate = ours.issue(&["a.test"]);
    let year = |year: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(24 * 366 * (year - 1970));
    let table = [
        (ours.roots(), year(2030), true),
        (other.roots(), year(2030), false),
        (RootCertStore::empty(), year(2030), false),
        (ours.roots(), year(2000), false),
        (ours.roots(), year(2101), false),
    ];
    assert!(!certificate.is_publicly_trusted());
    for (roots, now, expected) in table {
        assert_eq!(certificate.check_trust(&roots, now), expected);
        assert_eq!(certificate.is_publicly_trusted(), expected);
    }
}
