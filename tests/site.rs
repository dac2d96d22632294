//! The site component, as a client of the host sees it: which file a path is, and the fields that come with it.

use crate::support::{
    client::{BOTH, ask, with_fields},
    git::{Item, Repository},
    host::{Host, Setup},
    tables,
    wait::{SOON, until},
};

/// The committer date of the first commit of a repository here.
const FIRST: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const LFS: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
const CACHE: &str = "public, max-age=0, must-revalidate";

async fn serving(items: &[(&str, Item<'_>)]) -> (Host, Repository) {
    let setup = Setup::new(&tables::site("site"));
    let site = setup.repository("site");
    site.commit_items("main", items);
    (setup.start().await, site)
}

fn file(text: &str) -> Item<'_> {
    Item::File(text.as_bytes())
}

#[tokio::test]
async fn each_path_is_its_file() {
    let submodule = "0123456789012345678901234567890123456789";
    let (host, _site) = serving(&[
        (".env", file("secret")),
        (".well-known/security.txt", file("Contact: x")),
        ("404.html", file("<p>nothing</p>")),
        ("a b.txt", file("space")),
        ("about.html", file("about")),
        ("dir/.hidden", file("secret")),
        ("dir/index.html", file("dir")),
        ("dir/page.html", file("page")),
        ("both.html", file("the file")),
        ("both/index.html", file("the folder")),
        ("index.html", file("home")),
        ("large.bin", file(LFS)),
        ("link", Item::Link("about.html")),
        ("link-dir", Item::Link("dir")),
        ("link-loop", Item::Link("link-loop")),
        ("link-out", Item::Link("../../etc/passwd")),
        ("link-root", Item::Link("/etc/passwd")),
        ("link-hidden", Item::Link(".env")),
        ("run.sh", Item::Executable(b"#!/bin/sh\n")),
        ("sub", Item::Submodule(submodule)),
        ("übung.txt", file("u")),
    ])
    .await;
    for (path, status, body) in [
        ("/", 200, "home"),
        ("/index.html", 200, "home"),
        ("/about", 200, "about"),
        ("/about.html", 200, "about"),
        ("/dir/", 200, "dir"),
        ("/dir/page", 200, "page"),
        ("/both/", 200, "the folder"),
        ("/a%20b.txt", 200, "space"),
        ("/%C3%BCbung.txt", 200, "u"),
        ("/link", 200, "about"),
        ("/link-dir/page", 200, "page"),
        ("/run.sh", 200, "#!/bin/sh\n"),
        ("/.well-known/security.txt", 200, "Contact: x"),
        ("/nothing", 404, "<p>nothing</p>"),
        ("/about/", 404, "<p>nothing</p>"),
        ("/link-loop", 404, "<p>nothing</p>"),
        ("/link-out", 404, "<p>nothing</p>"),
        ("/link-root", 404, "<p>nothing</p>"),
        ("/link-hidden", 404, "<p>nothing</p>"),
        ("/.env", 404, "<p>nothing</p>"),
        ("/dir/.hidden", 404, "<p>nothing</p>"),
        ("/sub", 404, "<p>nothing</p>"),
        ("/sub/x", 404, "<p>nothing</p>"),
        ("/large.bin", 404, "<p>nothing</p>"),
        ("/%FF.txt", 404, "<p>nothing</p>"),
    ] {
        for protocol in BOTH {
            let reply = host.client().send_over(protocol, ask("GET", &format!("https://localhost{path}"))).await;
            assert_eq!(reply.brief(), (status, body), "{path} over {protocol:?}");
        }
    }
    for (path, to) in [("/dir", "/dir/"), ("/dir?x=y", "/dir/?x=y"), ("/link-dir", "/link-dir/")] {
        let reply = host.client().get(&format!("https://localhost{path}")).await;
        assert_eq!((reply.status.as_u16(), reply.field("location")), (308, Some(to)), "{path}");
    }
    assert!(host.logged("large.bin").await.contains("Git LFS"));
}

#[tokio::test]
async fn the_fields_of_a_file() {
    let (host, site) = serving(&[
        ("index.html", file("home")),
        ("a.css", file("a")),
        ("a.js", file("a")),
        ("a.json", file("{}")),
        ("a.png", file("a")),
        ("a.svg", file("<svg/>")),
        ("a.txt", file("a")),
        ("a.wasm", file("a")),
        ("a.xml", file("<a/>")),
        ("nothing-known", file("a")),
    ])
    .await;
    for (path, expected) in [
        ("/", "text/html; charset=utf-8"),
        ("/a.css", "text/css; charset=utf-8"),
        ("/a.js", "text/javascript; charset=utf-8"),
        ("/a.json", "application/json; charset=utf-8"),
        ("/a.png", "image/png"),
        ("/a.svg", "image/svg+xml; charset=utf-8"),
        ("/a.txt", "text/plain; charset=utf-8"),
        ("/a.wasm", "application/wasm"),
        ("/a.xml", "application/xml; charset=utf-8"),
        ("/nothing-known", "text/plain; charset=utf-8"),
    ] {
        let reply = host.client().get(&format!("https://localhost{path}")).await;
        assert_eq!(reply.field("content-type"), Some(expected), "{path}");
        let name = if path == "/" { "index.html" } else { &path[1..] };
        let blob = site.git(&["rev-parse", &format!("main:{name}")]);
        assert_eq!(reply.field("etag"), Some(&*format!("\"{blob}\"")), "{path}");
        assert_eq!(reply.field("last-modified"), Some(FIRST), "{path}");
        assert_eq!(reply.field("cache-control"), Some(CACHE), "{path}");
        assert_eq!(reply.field("no-vary-search"), Some("params"), "{path}");
        assert_eq!(reply.field("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.field("referrer-policy"), Some("strict-origin-when-cross-origin"), "{path}");
        assert_eq!(reply.field("content-length"), Some(&*reply.body.len().to_string()), "{path}");
        // The local CA is nobody's root but this machine's.
        assert_eq!(reply.field("strict-transport-security"), None, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let reply = host.client().send(ask(method, "https://localhost/")).await;
        assert_eq!((reply.status.as_u16(), reply.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let reply = host.client().send(ask("HEAD", "https://localhost/")).await;
    assert_eq!((reply.brief(), reply.field("content-length")), ((200, ""), Some("4")));
}

#[tokio::test]
async fn preconditions_and_ranges() {
    let (host, site) = serving(&[("a.txt", file("0123456789"))]).await;
    let tag = &*format!("\"{}\"", site.git(&["rev-parse", "main:a.txt"]));
    let weak = &*format!("W/{tag}");
    let later = "Wed, 15 Nov 2023 22:13:20 GMT";
    for (fields, status, body, range) in [
        (&[("if-none-match", tag)][..], 304, "", None),
        (&[("if-none-match", weak)], 304, "", None),
        (&[("if-none-match", "*")], 304, "", None),
        (&[("if-none-match", "\"x\"")], 200, "0123456789", None),
        (&[("if-modified-since", FIRST)], 304, "", None),
        // By equality: a revert turns dates back.
        (&[("if-modified-since", later)], 200, "0123456789", None),
        (&[("if-none-match", "\"x\""), ("if-modified-since", FIRST)], 200, "0123456789", None),
        (&[("if-match", tag)], 200, "0123456789", None),
        (&[("if-match", weak)], 412, "", None),
        (&[("if-match", "\"x\"")], 412, "", None),
        (&[("range", "bytes=0-0")], 206, "0", Some("bytes 0-0/10")),
        (&[("range", "bytes=7-")], 206, "789", Some("bytes 7-9/10")),
        (&[("range", "bytes=-2")], 206, "89", Some("bytes 8-9/10")),
        (&[("range", "bytes=5-99")], 206, "56789", Some("bytes 5-9/10")),
        (&[("range", "bytes=10-")], 416, "", Some("bytes */10")),
        (&[("range", "bytes=9-5")], 200, "0123456789", None),
        (&[("range", "lines=1-2")], 200, "0123456789", None),
        (&[("range", "bytes=0-0"), ("if-range", tag)], 206, "0", Some("bytes 0-0/10")),
        (&[("range", "bytes=0-0"), ("if-range", weak)], 200, "0123456789", None),
        (&[("range", "bytes=0-0"), ("if-range", "\"x\"")], 200, "0123456789", None),
        (&[("range", "bytes=0-0"), ("if-range", FIRST)], 206, "0", Some("bytes 0-0/10")),
        (&[("range", "bytes=0-0"), ("if-none-match", tag)], 304, "", None),
    ] {
        for protocol in BOTH {
            let reply = host.client().send_over(protocol, with_fields("GET", "https://localhost/a.txt", fields)).await;
            let body = if status == 416 || status == 412 { reply.text() } else { body };
            assert_eq!((reply.brief(), reply.field("content-range")), ((status, body), range), "{fields:?}");
            if status == 304 {
                assert_eq!((reply.field("etag"), reply.field("cache-control")), (Some(tag), Some(CACHE)));
                assert_eq!(reply.field("content-length"), None);
            }
        }
    }
}

#[tokio::test]
async fn an_encoding_is_a_representation_of_its_own() {
    let text = "a line of text that is long enough to be worth it\n".repeat(100);
    let (host, site) = serving(&[("a.txt", file(&text)), ("small.txt", file("x")), ("a.png", file(&text))]).await;
    let tag = format!("\"{}\"", site.git(&["rev-parse", "main:a.txt"]));
    for (path, accepted, encoding) in [
        ("/a.txt", "br, gzip", Some("br")),
        ("/a.txt", "gzip", Some("gzip")),
        ("/a.txt", "br;q=0.1, gzip;q=0.9", Some("gzip")),
        ("/a.txt", "br;q=0, *", Some("gzip")),
        ("/a.txt", "identity;q=0.5, gzip;q=0.4", None),
        ("/a.txt", "zstd", None),
        ("/a.txt", "", None),
        ("/small.txt", "br", None),
        ("/a.png", "br", None),
    ] {
        let url = format!("https://localhost{path}");
        let reply = host.client().send(with_fields("GET", &url, &[("accept-encoding", accepted)])).await;
        assert_eq!((reply.status.as_u16(), reply.field("content-encoding")), (200, encoding), "{path} {accepted}");
        if path == "/a.txt" {
            assert!(reply.field("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding")), "{accepted}");
        }
        let own = reply.field("etag").unwrap().to_owned();
        if encoding.is_some() {
            assert_ne!(own, tag, "{accepted}");
            assert!(reply.body.len() < text.len() / 4, "{accepted}: {}", reply.body.len());
            let fields = [("accept-encoding", accepted), ("if-none-match", &own)];
            assert_eq!(host.client().send(with_fields("GET", &url, &fields)).await.status, 304, "{accepted}");
        } else if path == "/a.txt" {
            assert_eq!((own, reply.text()), (tag.clone(), &*text));
        }
    }
}

#[tokio::test]
async fn headers_and_redirects_are_files_of_the_branch() {
    let headers = "/*\n  X-All: 1\n/a.txt\n  Cache-Control: public, max-age=60\n  ! X-All\n/dir/*\n  X-Dir: :splat\n";
    let redirects =
        "/moved /a.txt 301\n/old/* /dir/:splat 302\n/rewritten /a.txt 200\n/gone https://example.org/ 307\n";
    let (host, _site) = serving(&[
        ("_headers", file(headers)),
        ("_redirects", file(redirects)),
        ("a.txt", file("a")),
        ("dir/b.txt", file("b")),
    ])
    .await;
    for (path, status, fields) in [
        ("/a.txt", 200, &[("x-all", None), ("cache-control", Some("public, max-age=60"))][..]),
        ("/dir/b.txt", 200, &[("x-all", Some("1")), ("cache-control", Some(CACHE))]),
        ("/moved", 301, &[("location", Some("/a.txt"))]),
        ("/old/b.txt", 302, &[("location", Some("/dir/b.txt"))]),
        ("/gone", 307, &[("location", Some("https://example.org/"))]),
        ("/rewritten", 200, &[("location", None), ("content-type", Some("text/plain; charset=utf-8"))]),
        ("/_headers", 404, &[]),
        ("/_redirects", 404, &[]),
    ] {
        let reply = host.client().get(&format!("https://localhost{path}")).await;
        assert_eq!(reply.status, status, "{path}");
        for (name, value) in fields {
            assert_eq!(reply.field(name), *value, "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn a_site_without_a_commit_is_not_there_yet() {
    let setup = Setup::new(&tables::site("site"));
    let site = setup.repository("site");
    let host = setup.start().await;
    let reply = host.client().get("https://localhost/").await;
    assert_eq!(reply.status, 503);
    assert!(reply.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{reply:?}");
    site.commit("main", &[("index.html", "home")]);
    until(SOON, "the first commit", async || {
        (host.client().get("https://localhost/").await.brief() == (200, "home")).then_some(())
    })
    .await;
}
