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
        ("other", "(ED25519)", &[]),
        ("rsa-other", "(RSA)", &["--type", "rsa", "--bits", "2048"]),
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
    assert_ne!(public("plain"), public("other"));
    // Without the comment.
    let bare = |name| public(name).split(' ').nth(1).map(str::to_owned);
    assert_ne!(bare("rsa"), bare("rsa-other"));
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
        assert!(said.starts_with("host: the seed could be guessed: it is short; "), "{said}");
        assert!(!fs::exists(&file).expect("the folder is the test's"));
    }
    let open = path("open");
    fs::copy(path("seed"), &open).and_then(|_| fs::set_permissions(&open, fs::Permissions::from_mode(0o644))).unwrap();
    // Failed, or not understood, and then clap has more to say.
    for (arguments, code, said) in [
        (
            &["--seed-file", &path("weak")][..],
            1,
            "host: the seed could be guessed: it is short; 32 bytes are wanted, which are 64 characters in hexadecimal and 43 in Base64; `openssl rand -hex 32` makes a good one\n",
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

/// What was thought of is none, and what a key was made of once makes it again.
#[tokio::test]
async fn a_seed_is_drawn() {
    let setup = Setup::without_manifest();
    let text = "it is text, and not 32 bytes that were drawn, in hexadecimal, in Base64 or as they are";
    let raw: Vec<u8> =
        (0..32_u32).map(|at| u8::try_from((at * at * 40_503 + 0x9e37 * at + 7) >> 8 & 0xff).unwrap()).collect();
    for (seed, outcome) in [
        (&b"Shall I compare thee to a summer's day? Thou art more lovely and more temperate\n"[..], Err(text)),
        (b"legal winner thank year wave sausage worth useful legal winner thank yellow\n", Err(text)),
        (b"2024-01-01 2024-02-01 2024-03-01 2024-04-01 2024-05-01 2024-06-01\n", Err(text)),
        (b"1416 1417 1418 1419 1420 1421 1422 1423 1424 1425 1426 1427 1428 1429\n", Err(text)),
        (b"one two three four five six seven eight nine ten eleven twelve thirteen\n", Err(text)),
        (
            b"2024010120240102202401032024010420240105202401062024010720240108\n",
            Err("it has no digit but decimal ones"),
        ),
        (b"qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM\n", Err("it goes along a keyboard")),
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n", Err("it counts, or repeats itself")),
        (b"secretsecretsecretsecretsecretsecretsecretsecretsecret\n", Err("it counts, or repeats itself")),
        (b"shallicomparetheetoasummersdaythouartmorelovelyandmoretemperate\n", Err("some of it is there too often")),
        (b"71da85e98b12732faf66939f5c9980511f8a194400170602243265079a265efa\n", Ok(())),
        (b"cdqF6YsScy+vZpOfXJmAUR+KGUQAFwYCJDJlB5omXvo=\n", Ok(())),
        (&raw, Ok(())),
    ] {
        let (seed, output) = (setup.secret("drawn", seed), setup.path("key"));
        let arguments =
            ["keygen", "--output", output.to_str().expect("text"), "--seed-file", seed.to_str().expect("text")];
        let said = setup.command(&arguments).await;
        match outcome {
            Ok(()) => drop(said.done()),
            Err(why) => assert_eq!(
                said.failed(),
                format!("host: the seed could be guessed: {why}; `openssl rand -hex 32` makes a good one\n")
            ),
        }
        assert_eq!(fs::remove_file(output).is_ok(), outcome.is_ok());
    }
}
