//! `host keygen`, against `ssh-keygen`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{host::Setup, skip, sshd::run_keygen};

#[tokio::test]
async fn ssh_keygen_reads_what_was_made() {
    if skip::missing(&["ssh-keygen"]) {
        return;
    }
    let setup = Setup::without_manifest();
    setup.secret("seed", "71da85e98b12732faf66939f5c9980511f8a194400170602243265079a265efa");
    let path = |name: &str| setup.path(name).to_str().expect("text").to_owned();
    for (name, kind, arguments) in [
        ("plain", "(ED25519)", &[][..]),
        ("rsa", "(RSA)", &["--type", "rsa", "--bits", "2048", "--comment", "me@here"]),
        ("seeded", "(ED25519)", &["--seed-file", &path("seed")]),
        ("again", "(ED25519)", &["--seed-file", &path("seed")]),
        ("rsa-seeded", "(RSA)", &["--type", "rsa", "--seed-file", &path("seed")]),
        ("rsa-again", "(RSA)", &["--type", "rsa", "--bits", "3072", "--seed-file", &path("seed")]),
    ] {
        let file = path(name);
        let said = setup.command(&[&["keygen", "--output", &file][..], arguments].concat()).await.done();
        let [line, print] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
        assert_eq!(run_keygen(&setup.path(""), &["-y", "-f", name]), line, "{name}");
        let listed = run_keygen(&setup.path(""), &["-l", "-f", name]);
        assert!(listed.contains(print) && listed.ends_with(kind), "{listed}");
        assert_eq!(fs::metadata(&file).expect("it was made").permissions().mode() & 0o777, 0o600);
        // What is there stays.
        let before = fs::read(&file).expect("it was made");
        let refused = setup.command(&["keygen", "--output", &file]).await.failed();
        assert_eq!(
            refused,
            format!("host: {file} is there, and a key is never written over; name another by --output\n")
        );
        assert_eq!(fs::read(&file).expect("it was made"), before);
    }
    let public = |name| run_keygen(&setup.path(""), &["-y", "-f", name]);
    assert_eq!(public("seeded"), public("again"));
    assert_eq!(fs::read(path("rsa-seeded")).unwrap().len(), fs::read(path("rsa-again")).unwrap().len());
    assert_eq!(public("rsa-seeded"), public("rsa-again"));
    // Out of standard input the same, and the same is refused.
    let read = async |seed: &str, arguments: &[&str]| {
        let input = fs::File::open(path(seed)).expect("it was written").into();
        let arguments = [&["keygen", "--seed-file", "-"][..], arguments].concat();
        setup.command_reading(input, &arguments).await
    };
    for (kind, name, seeded) in [("ed25519", "read", "seeded"), ("rsa", "rsa-read", "rsa-seeded")] {
        let file = path(name);
        let said = read("seed", &["--type", kind, "--output", &file]).await.done();
        assert_eq!(said.lines().next(), Some(&*public(seeded)), "{kind}");
        assert_eq!(public(name), public(seeded), "{kind}");
        assert_eq!(fs::metadata(&file).expect("it was made").permissions().mode() & 0o777, 0o600);
    }
    setup.secret("weak", "password");
    setup.secret("nothing", "");
    for seed in ["weak", "nothing"] {
        let file = path("none");
        let said = read(seed, &["--output", &file]).await.failed();
        assert!(said.starts_with("host: the seed could be guessed: it has some "), "{said}");
        assert!(!fs::exists(&file).expect("the folder is the test's"));
    }
    let open = path("open");
    fs::copy(path("seed"), &open).and_then(|_| fs::set_permissions(&open, fs::Permissions::from_mode(0o644))).unwrap();
    // Failed, or not understood, and then clap has more to say.
    for (arguments, code, said) in [
        (
            &["--seed-file", &path("weak")][..],
            1,
            "host: the seed could be guessed: it has some 11 bits of what cannot, and 128 are wanted; `openssl rand -hex 32` makes a good one\n",
        ),
        (
            &["--seed-file", &open],
            1,
            &format!("host: {open} can be read by others (mode 0644); run chmod 600 {open}\n"),
        ),
        (
            &["--seed-file", &path("seed"), "--type", "rsa", "--bits", "2050"],
            2,
            "error: an RSA key from a seed has 2048 to 8192 bits, a multiple of 128, and not 2050\n",
        ),
        (&["--bits", "2048"], 2, "error: --bits is for RSA keys: an ed25519 key has 256; or add --type rsa\n"),
        (&["--type", "rsa", "--bits", "1024"], 2, "error: an RSA key has 2048 to 8192 bits here, and not 1024\n"),
    ] {
        let file = path("none");
        let outcome = setup.command(&[&["keygen", "--output", &file][..], arguments].concat()).await;
        assert_eq!((outcome.code, &outcome.stderr[..said.len().min(outcome.stderr.len())]), (Some(code), said));
        assert!(!fs::exists(&file).expect("the folder is the test's"));
    }
}
