//! Addresses, as an operator writes them.

use super::*;

#[test]
fn addresses() {
    let here = Path::new("/srv");
    for (text, kind) in [
        ("../blog.git", "Local(\"/srv/../blog.git\")"),
        ("public/", "Local(\"/srv/public/\")"),
        ("/var/git/x:y", "Local(\"/var/git/x:y\")"),
        ("./a:b", "Local(\"/srv/./a:b\")"),
        (
            "git@example.org:me/blog.git",
            "Ssh { user: Some(\"git\"), host: Domain(\"example.org\"), port: 22, path: \"me/blog.git\", key: None, host_key: None }",
        ),
        (
            "me@[a.test:2222]:x.git",
            "Ssh { user: Some(\"me\"), host: Domain(\"a.test\"), port: 2222, path: \"x.git\", key: None, host_key: None }",
        ),
        (
            "[a.test]:x.git",
            "Ssh { user: None, host: Domain(\"a.test\"), port: 22, path: \"x.git\", key: None, host_key: None }",
        ),
        (
            "git+ssh://a.test:/x.git",
            "Ssh { user: None, host: Domain(\"a.test\"), port: 22, path: \"/x.git\", key: None, host_key: None }",
        ),
        (
            "ssh+git://me@a.test:2222/x.git",
            "Ssh { user: Some(\"me\"), host: Domain(\"a.test\"), port: 2222, path: \"/x.git\", key: None, host_key: None }",
        ),
        ("git://a.test:/x.git", "Git { host: Domain(\"a.test\"), port: 9418, path: \"/x.git\" }"),
        (
            "ssh://me@example.org:2222/srv/blog.git",
            "Ssh { user: Some(\"me\"), host: Domain(\"example.org\"), port: 2222, path: \"/srv/blog.git\", key: None, host_key: None }",
        ),
        (
            "me@[::1]:srv/a%20b.git",
            "Ssh { user: Some(\"me\"), host: Ipv6(::1), port: 22, path: \"srv/a%20b.git\", key: None, host_key: None }",
        ),
        (
            "ssh://[::1]:2222/srv/it%27s%20a%25.git",
            "Ssh { user: None, host: Ipv6(::1), port: 2222, path: \"/srv/it's a%.git\", key: None, host_key: None }",
        ),
        ("git://a.test/it%27s%20a.git", "Git { host: Domain(\"a.test\"), port: 9418, path: \"/it's a.git\" }"),
        (
            "ssh://us%65r%40x@h%6fst:2222/~me/p%61th",
            "Ssh { user: Some(\"user@x\"), host: Domain(\"host\"), port: 2222, path: \"~me/path\", key: None, host_key: None }",
        ),
        (
            "ssh://a.test/%7Eme",
            "Ssh { user: None, host: Domain(\"a.test\"), port: 22, path: \"~me\", key: None, host_key: None }",
        ),
        (
            "a.test:/~me/x",
            "Ssh { user: None, host: Domain(\"a.test\"), port: 22, path: \"~me/x\", key: None, host_key: None }",
        ),
        (
            "m%65@a.test:~/x%41",
            "Ssh { user: Some(\"m%65\"), host: Domain(\"a.test\"), port: 22, path: \"~/x%41\", key: None, host_key: None }",
        ),
        (
            "ssh://a.test//~me/a~b",
            "Ssh { user: None, host: Domain(\"a.test\"), port: 22, path: \"//~me/a~b\", key: None, host_key: None }",
        ),
        ("git://a.t%65st/~me/x%2egit", "Git { host: Domain(\"a.test\"), port: 9418, path: \"~me/x.git\" }"),
        ("git://a.test/me~/x", "Git { host: Domain(\"a.test\"), port: 9418, path: \"/me~/x\" }"),
        ("file:///srv/a%20b%3f%25.git", "Local(\"/srv/a b?%.git\")"),
        ("File://LocalHost/%c3%bc/%FF b", "Local(\"/ü/\\xFF b\")"),
        ("git://[::1]/blog.git", "Git { host: Ipv6(::1), port: 9418, path: \"/blog.git\" }"),
        (
            "https://example.org/me/blog.git",
            "Http { origin: Origin { scheme: Https, host: Domain(\"example.org\"), port: 443 }, path: \"/me/blog.git\", ca: None, token: None }",
        ),
    ] {
        assert_eq!(format!("{:?}", Remote::parse(text, here).expect(text)), kind);
    }
}

#[test]
fn what_is_not_an_address() {
    for (text, message) in [
        ("", "is empty: name a repository or a directory"),
        ("-oProxyCommand=x", "`-oProxyCommand=x` begins with a dash: for a path write `./` before it"),
        ("-https://me:s3cret@a.test/x", "`…@a.test/x` begins with a dash: for a path write `./` before it"),
        ("https://me:s3cret@a.test/x\t", "`…@a.test/x    ` has a control character"),
        ("https://me:s3/cret@a.test/x", "credentials do not belong in a URL"),
        ("https://s3+c/ret@a.test/x", "credentials do not belong in a URL"),
        ("https://me:/s3cret@a.test/x", "credentials do not belong in a URL"),
        ("ssh://git@a.test:99999/x", "`99999` is not a port: 1 to 65535"),
        (
            "http://me:s3cret@a.test/x",
            "credentials do not belong in a URL, and http:// carries none: use https:// with token = \"FILE\"",
        ),
        ("ext::sh -c x", "`ext::sh -c x` asks for a helper program, and none is ever run"),
        ("~/blog.git", "`~/blog.git` begins with `~`, which nobody expands here: write the whole path"),
        (
            "file://blog.git",
            "`file://blog.git` is no place on this machine: write \"file:///PATH\", with the whole path",
        ),
        (
            "file://../blog.git",
            "`file://../blog.git` is no place on this machine: write \"file:///PATH\", with the whole path",
        ),
        (
            "file://localhost",
            "`file://localhost` is no place on this machine: write \"file:///PATH\", with the whole path",
        ),
        ("file:///a?x", "`file:///a?x` has something behind its path; where the path has a `?` or `#`, write %3F, %23"),
        ("file:///a#x", "`file:///a#x` has something behind its path; where the path has a `?` or `#`, write %3F, %23"),
        ("ssh://a.test/a%0ab", "`ssh://a.test/a%0ab` has a control character"),
        ("git://a.test/%ff", "`git://a.test/%ff` names a path that is not UTF-8"),
        ("file:///a%2", "`file:///a%2` has a `%` without two hexadecimal digits; for itself write %25"),
        ("file:///a%+1b", "`file:///a%+1b` has a `%` without two hexadecimal digits; for itself write %25"),
        ("file:///a%00b", "`file:///a%00b` has a control character"),
        ("file:///a%0ab", "`file:///a%0ab` has a control character"),
        ("ftp://a.test/x", "`ftp://a.test/x` is none of ssh://, https://, http://, git://, file:// and a path"),
        ("https://a.test", "`https://a.test` needs the path of a repository and nothing behind it"),
        ("https://a.test/x?token=s3cret", "`https://a.test/x…` needs the path of a repository and nothing behind it"),
        (
            "https://me:secret@a.test/x",
            "credentials do not belong in a URL: put the token in a file and name it, token = \"FILE\"",
        ),
        (
            "https://secret@a.test/x",
            "credentials do not belong in a URL: put the token in a file and name it, token = \"FILE\"",
        ),
        (
            "ssh://me:secret@a.test/x",
            "credentials do not belong in a URL: put the key in a file and name it, key = \"FILE\"",
        ),
        (
            "git://me@a.test/x",
            "credentials do not belong in a URL, and git:// has none: use ssh:// with key = \"FILE\"",
        ),
        ("ssh://-x@a.test/x", "the user before `@` is not a name"),
        ("ssh://%2dx@a.test/x", "the user before `@` is not a name"),
        (
            "ssh://me%3Asecret@a.test/x",
            "credentials do not belong in a URL: put the key in a file and name it, key = \"FILE\"",
        ),
        ("ssh://me:secret%zz@a.test/x", "`…@a.test/x` has a `%` before its path that stands for no letter of a name"),
        ("ssh://m%2f@a.test/x", "`…@a.test/x` has a `%` before its path that stands for no letter of a name"),
        ("ssh://m%0a@a.test/x", "`…@a.test/x` has a `%` before its path that stands for no letter of a name"),
        ("git://%ff.test/x", "`git://%ff.test/x` has a `%` before its path that stands for no letter of a name"),
        ("https://a%2etest/x", "`a%2etest` is not a host: a name, an IPv4 address, or an IPv6 address in brackets"),
        ("me@a.test:x~y/z", "`me@a.test:x~y/z` is read by Git as `me@a.test:~y/z`: write \"ssh://me@a.test/~/x~y/z\""),
        ("a.test:", "an address over SSH needs the path of a repository"),
        ("a.test:-x", "an address over SSH needs the path of a repository"),
        (
            "a b:c",
            "`ssh://a b/` is not a URL: it has a blank, a control character or a backslash; for a path write \"./a b:c\"",
        ),
        ("a\nb", "`a\\nb` has a control character"),
    ] {
        assert_eq!(Remote::parse(text, Path::new("/")), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn pins() {
    let pinned = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGyvCJqGwM4ccEhL5bY";
    assert_eq!(pin(pinned), Ok(pinned.to_owned()));
    assert_eq!(pin(&format!("{pinned}=")), Ok(pinned.to_owned()));
    assert_eq!(
        pin("SHA256:x"),
        Err("`SHA256:x` is not a fingerprint: `SHA256:` and 43 characters, as `ssh-keygen -l` prints it".into())
    );
}
