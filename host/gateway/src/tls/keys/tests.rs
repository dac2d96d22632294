use std::{
    process::Command,
    time::{Duration, SystemTime},
};

use super::*;
use crate::tls::testing::{Authority, missing};

fn read(chain: &str, key: &str) -> Result<Certificate, KeyError> {
    let chain = Source { file: "chain.pem", bytes: chain.as_bytes() };
    let key = Source { file: "key.pem", bytes: key.as_bytes() };
    pair(chain, key)
}

/// What OpenSSL prints.
fn openssl(arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pairs_in_every_form_that_openssl_writes() {
    if missing(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let key = key.to_str().unwrap();
    let table = [
        format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {key}"),
        format!("genrsa -traditional -out {key} 2048"),
        format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}"),
        format!("ecparam -name secp384r1 -genkey -noout -out {key}"),
        format!("genpkey -algorithm ED25519 -out {key}"),
    ];
    for make in table {
        openssl(&make);
        let chain =
            openssl(&format!("req -x509 -key {key} -subj /CN=a -addext subjectAltName=DNS:A.test,IP:::1 -days 90000"));
        let certificate = read(&chain, &std::fs::read_to_string(key).unwrap()).unwrap();
        assert_eq!(certificate.names().collect::<Vec<_>>(), ["a.test"], "{make}");
        assert_eq!(certificate.addresses(), ["::1".parse::<std::net::IpAddr>().unwrap()]);
    }
}

#[test]
fn what_can_not_be_served_is_refused_by_the_name_of_its_file() {
    if missing(&["openssl"]) {
        return;
    }
    let authority = Authority::new("keys");
    let (leaf, key) = authority.sign(&["a.test"], 2020, 2100);
    let (_, other) = authority.sign(&["a.test"], 2020, 2100);
    let (nameless, nameless_key) = authority.sign(&[], 2020, 2100);
    let (leaf, key, nameless) = (leaf.pem(), key.serialize_pem(), nameless.pem());
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.pem");
    let small = small.to_str().unwrap();
    openssl(&format!("genrsa -out {small} 1024"));
    let small_key = std::fs::read_to_string(small).unwrap();
    let encrypted = openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x");
    let encrypted_old = openssl(&format!("rsa -in {small} -traditional -aes256 -passout pass:x"));
    let cut = &key[..key.len() / 2];
    let nonsense = key.replace(|letter: char| letter.is_ascii_digit(), "A");
    let broken_leaf = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "key.pem: no private key in it";
    let unsupported = "key.pem: not a key that TLS can sign with: RSA of 2048 bits or more, ECDSA over P-256, P-384 or \
                       P-521, Ed25519";
    let table = [
        ("", &*key, "chain.pem: no certificate in it"),
        (&*key, &key, "chain.pem: no certificate in it"),
        (&leaf[..100], &key, "chain.pem: a damaged PEM section"),
        (&leaf, "", no_key),
        (&leaf, &leaf, no_key),
        (&leaf, "hello", no_key),
        (&leaf, cut, "key.pem: a damaged PEM section"),
        (&leaf, &nonsense, unsupported),
        (&leaf, &small_key, unsupported),
        (&leaf, &encrypted, "key.pem: the key is encrypted, and nobody is there to ask for its password"),
        (&leaf, &encrypted_old, "key.pem: the key is encrypted, and nobody is there to ask for its password"),
        (&leaf, &other.serialize_pem(), "chain.pem with key.pem: the key does not belong to the certificate"),
        (broken_leaf, &key, "chain.pem with key.pem: certificate 1 of the chain can't be read"),
        (&format!("{leaf}{broken_leaf}"), &key, "chain.pem with key.pem: certificate 2 of the chain can't be read"),
        (
            &format!("{}{leaf}", authority.pem()),
            &key,
            "chain.pem with key.pem: the certificate names nobody: it has no subjectAltName that a client could ask for",
        ),
        (
            &format!("{}{leaf}", authority.sign(&["b.test"], 2020, 2100).0.pem()),
            &key,
            "chain.pem with key.pem: the key belongs to certificate 2 of the chain, and must belong to the first",
        ),
        (
            &nameless,
            &nameless_key.serialize_pem(),
            "chain.pem with key.pem: the certificate names nobody: it has no subjectAltName that a client could ask for",
        ),
    ];
    for (chain, key, expected) in table {
        let error = read(chain, key).unwrap_err();
        assert_eq!(error.to_string(), expected, "{chain}");
        for line in key.lines().filter(|line| line.len() > 20) {
            assert!(!format!("{error:?}").contains(line), "{error:?}");
        }
    }
}

#[test]
fn a_certificate_out_of_its_time_is_one() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 366 * 60);
    let authority = Authority::new("time");
    for (from, until, expected) in [(2020, 2025, false), (2090, 2100, false), (2020, 2100, true)] {
        let (leaf, key) = authority.sign(&["a.test"], from, until);
        let certificate = read(&leaf.pem(), &key.serialize_pem()).unwrap();
        assert_eq!(certificate.is_valid_at(now), expected, "{from} to {until}");
        assert!(certificate.covers("a.test"));
    }
}
