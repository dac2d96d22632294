//! Keys for SSH that a certificate beside them vouches for, as `ssh-keygen -s` makes it, at OpenSSH's server.

use crate::{
    git_servers::{error, repository, shows, site},
    support::{
        host::Setup,
        skip,
        sshd::{ED25519, PROGRAMS, Sshd, keys, run_keygen, user},
        upstream::dead,
    },
};

#[tokio::test]
async fn a_key_is_let_in_by_the_certificate_beside_it() {
    if skip::missing(PROGRAMS) {
        return;
    }
    for kind in [ED25519, &["-t", "rsa", "-b", "2048"]] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let folder = keys(&setup, &[("key", kind), ("another", ED25519), ("ca", ED25519)]);
        let trusting = format!("TrustedUserCAKeys {}/ca.pub\n", folder.display());
        let sshd = Sshd::with(&folder, &[], dead(), &trusting).await;
        let remote = sshd.url(repository.path());
        setup.manifest(&site(&remote, &format!("key = \"ssh/key\"\npin = \"{}\"\n", sshd.pin())));
        let certify = |name: &str| {
            run_keygen(&folder, &["-q", "-s", "ca", "-I", "me", "-n", &user(), &format!("{name}.pub")]);
        };
        // Another key's is none of this one.
        certify("another");
        std::fs::rename(folder.join("another-cert.pub"), folder.join("key-cert.pub")).expect("it was made");
        let host = setup.start().await;
        let refused = error(&host).await;
        assert!(refused.contains("the server refuses the key in"), "{refused}");
        certify("key");
        shows(&host, "one").await;
        sshd.came_in(1);
        // One that nobody wants any more leaves the key, which is let in by itself.
        let line = std::fs::read(folder.join("key.pub")).expect("it was made");
        std::fs::write(folder.join("authorized_keys"), line).expect("the folder is the test's");
        std::fs::write(folder.join("ca.pub"), "").expect("the folder is the test's");
        std::fs::write(
            folder.join("key-cert.pub"),
            std::fs::read(folder.join("key-cert.pub")).expect("it was made").trim_ascii(),
        )
        .expect("the folder is the test's");
        repository.commit("main", &[("index.html", "two")]);
        shows(&host, "two").await;
        sshd.came_in(2);
    }
}
