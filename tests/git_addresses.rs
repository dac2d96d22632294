//! What an address of a server means: what it means to the `git` program, which is asked the same.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::{
    git_servers::{shows, site},
    support::{
        git::Repository,
        git_servers::Daemon,
        host::Setup,
        skip,
        sshd::{PROGRAMS, Sshd, user},
        wait::{SOON, until, within},
    },
};

/// Below a host.
const PATHS: &[&str] = &["/a.git", "/p%61th%20%25.git", "/~me/a.git", "/%7eme/p%61th", "//~me", "/~", "/me~/a", "/a~b"];

/// A path of which a URL must encode something, and of which it need not.
#[tokio::test]
async fn paths_are_decoded() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    fs::create_dir(setup.path("root")).unwrap();
    let repository = Repository::bare(setup.path("root/path %.git"));
    repository.commit("main", &[("index.html", "one")]);
    let daemon = Daemon::start(&setup.path("root")).await;
    let (sshd, _) = Sshd::beside(&setup, repository.path()).await;
    let lines = format!("key = \"ssh/key\"\npin = \"{}\"\n", sshd.pin());
    let there = "p%61th%20%25.git";
    let by_ssh = format!("ssh://{}@{}{}", encoded(&user()), sshd.address(), setup.path("root").join(there).display());
    setup.manifest(&site(&format!("git://{}/{there}", daemon.address()), ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    for (remote, lines, page) in
        [(by_ssh, &*lines, "two"), (format!("git://{}/{there}", daemon.address()), "", "three")]
    {
        host.setup().manifest(&site(&remote, lines));
        host.reload().await.done();
        repository.commit("main", &[("index.html", page)]);
        shows(&host, page).await;
    }
    sshd.came_in(1);
}

/// The line that a conversation with `git daemon` begins with, byte for byte.
#[tokio::test]
async fn over_gits_own_protocol_as_git_reads_them() {
    for path in PATHS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("git://{}{path}", listener.local_addr().unwrap());
        let git = Command::new("git").args(["ls-remote", &url]).stderr(Stdio::piped()).spawn().unwrap();
        let gits = opening(&listener).await;
        git.wait_with_output().unwrap();
        let setup = Setup::new(&site(&url, ""));
        let mut host = setup.spawn();
        let ours = opening(&listener).await;
        host.kill().await.unwrap();
        assert_eq!(ours, gits, "{url}");
    }
}

/// What `listener` is asked first; then it hangs up.
async fn opening(listener: &TcpListener) -> String {
    let (mut stream, _) = within(SOON, "a connection", listener.accept()).await.unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    let mut line = vec![0; usize::from_str_radix(str::from_utf8(&length).unwrap(), 16).unwrap() - 4];
    stream.read_exact(&mut line).await.unwrap();
    String::from_utf8(line).unwrap()
}

/// Who comes in, and what is run there.
#[tokio::test]
async fn over_ssh_as_git_reads_them() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let (sshd, _) = Sshd::beside(&setup, Path::new("/")).await;
    let (user, address, pin) = (user(), sshd.address(), sshd.pin());
    let urls: Vec<_> = PATHS.iter().map(|path| format!("ssh://{}@{address}{path}", encoded(&user))).collect();
    let gits: Vec<_> = urls.iter().map(|url| asked_by_git(&setup, url)).collect();
    assert!(gits.iter().all(|(who, _)| *who == format!("{user}@{}", address.ip())), "{gits:?}");
    for (url, (_, command)) in urls.iter().zip(&gits) {
        setup.manifest(&site(url, &format!("key = \"ssh/key\"\npin = \"{pin}\"\n")));
        let mut host = setup.spawn();
        // No two are alike; what the host before asked for may come late.
        until(SOON, url, async || sshd.commands().contains(command).then_some(())).await;
        host.kill().await.unwrap();
    }
    for asked in sshd.commands() {
        assert!(gits.iter().any(|(_, command)| *command == asked), "{asked}");
    }
}

/// Of `ssh`, in its place: whom it was to reach, and what to run there.
fn asked_by_git(setup: &Setup, url: &str) -> (String, String) {
    let script =
        setup.write("instead-of-ssh", "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\" >>\"$0.asked\"; done\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = setup.path("instead-of-ssh.asked");
    let _ = fs::remove_file(&asked);
    let mut git = Command::new("git");
    git.args(["ls-remote", url]).env("GIT_SSH", &script).env("GIT_SSH_VARIANT", "ssh").output().unwrap();
    let asked = fs::read_to_string(asked).unwrap();
    let mut words = asked.lines().rev();
    let command = words.next().unwrap().to_owned();
    (words.next().unwrap().to_owned(), command)
}

/// With its first letter as a URL may have it.
fn encoded(user: &str) -> String {
    format!("%{:02x}{}", user.as_bytes()[0], &user[1..])
}
