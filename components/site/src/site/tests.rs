use core::pin::pin;
use core::task::{Context, Poll, Waker};

use super::*;
use crate::tree::memory::{Branch, tree};

fn site(files: &[(&str, &str)]) -> Site<Branch> {
    open(tree(files), Some(784_111_777)).expect("a site")
}

fn open(branch: Branch, committed: Option<u64>) -> Result<Site<Branch>, String> {
    at_once(Site::open(branch, committed))
}

fn ask(site: &Site<Branch>, method: &str, target: &str, authority: &str) -> Answer {
    at_once(site.answer(method, target, authority))
}

/// Of a branch in memory nothing has to be waited for.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("waits"),
    }
}

/// `STATUS BODY`, or `STATUS -> LOCATION`; of a file its path.
fn line(answer: &Answer) -> String {
    let location = field(answer, "location").map(|location| format!(" -> {location}"));
    let body = match &answer.body {
        Body::Empty => String::new(),
        Body::Text(text) => format!(" {}", text.trim_end()),
        Body::File(path) => format!(" [{path}]"),
    };
    format!("{}{}{body}", answer.status, location.unwrap_or_default())
}

fn field(answer: &Answer, name: &str) -> Option<String> {
    let fields = answer.fields.iter().find(|(other, _)| other == name);
    fields.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}

fn all_fields(answer: Answer) -> Vec<String> {
    let fields = answer.fields.into_vec().into_iter();
    fields.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(&value))).collect()
}

const FILES: [(&str, &str); 24] = [
    ("index.html", "<h1>"),
    ("about.html", "about"),
    ("style.css", "a{}"),
    ("dir/index.html", "dir"),
    ("dir/deep/index.html", "deep"),
    ("both/index.html", "both"),
    ("both.html", "page"),
    ("bare/file.txt", "x"),
    ("caf\u{e9}.html", "x"),
    ("404.html", "gone"),
    ("latest", "-> style.css"),
    ("theme.css", "-> .private/theme.css"),
    (".private/theme.css", "x"),
    ("linked", "-> dir"),
    ("out", "-> ../secret"),
    ("loop", "-> loop"),
    ("module", "submodule"),
    (".env", "secret"),
    (".git/config", "secret"),
    (".well-known/security.txt", "x"),
    ("dir/.hidden", "x"),
    ("_headers.txt", "x"),
    ("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    ("linked-big.bin", "-> big.bin"),
];

#[test]
fn paths_lead_to_files() {
    let site = site(&FILES);
    for (target, expect) in [
        ("/", "200 [index.html]"),
        ("/?x=y", "200 [index.html]"),
        ("/index.html", "200 [index.html]"),
        ("/about", "200 [about.html]"),
        ("/about.html", "200 [about.html]"),
        ("/about/", "404 [404.html]"),
        ("/style.css", "200 [style.css]"),
        ("/style.css/", "404 [404.html]"),
        ("/style.css/x", "404 [404.html]"),
        ("/dir", "308 -> /dir/"),
        ("/dir?a=b", "308 -> /dir/?a=b"),
        ("/dir/", "200 [dir/index.html]"),
        ("/dir/deep", "308 -> /dir/deep/"),
        ("/both", "200 [both.html]"),
        ("/both/", "200 [both/index.html]"),
        ("/bare", "404 [404.html]"),
        ("/bare/", "404 [404.html]"),
        ("/bare/file.txt", "200 [bare/file.txt]"),
        ("/caf%C3%A9", "200 [caf\u{e9}.html]"),
        ("/nothing", "404 [404.html]"),
        ("/404", "200 [404.html]"),
        ("/latest", "200 [style.css]"),
        ("/linked", "308 -> /linked/"),
        ("/linked/", "200 [dir/index.html]"),
        ("/linked/deep/", "200 [dir/deep/index.html]"),
        ("/theme.css", "404 [404.html]"),
        ("/out", "404 [404.html]"),
        ("/loop", "404 [404.html]"),
        ("/module", "404 [404.html]"),
        ("/module/x", "404 [404.html]"),
        ("/.env", "404 [404.html]"),
        ("/%2eenv", "404 [404.html]"),
        ("/.git/config", "404 [404.html]"),
        ("/dir/.hidden", "404 [404.html]"),
        ("/dir/../index.html", "404 [404.html]"),
        ("/.well-known/security.txt", "200 [.well-known/security.txt]"),
        ("//evil.test", "404 [404.html]"),
        ("/%ff", "404 [404.html]"),
        ("/%zz", "400 400 Bad Request"),
        ("/dir%2Findex.html", "400 400 Bad Request"),
        ("/a%00", "400 400 Bad Request"),
        ("*", "400 400 Bad Request"),
    ] {
        assert_eq!(line(&ask(&site, "GET", target, "a.test")), expect, "{target}");
        assert_eq!(line(&ask(&site, "HEAD", target, "a.test")), expect, "{target}");
    }
}

#[test]
fn a_file_has_the_fields_of_a_page_that_may_change() {
    let site = site(&FILES);
    assert_eq!(
        all_fields(ask(&site, "GET", "/about", "a.test")),
        [
            "content-type: text/html; charset=utf-8",
            "content-length: 5",
            "cache-control: public, max-age=0, must-revalidate",
            "no-vary-search: params",
            "x-content-type-options: nosniff",
            "referrer-policy: strict-origin-when-cross-origin",
            "etag: \"id-of-about.html\"",
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
        ]
    );
    assert_eq!(
        all_fields(ask(&site, "GET", "/nothing", "a.test")),
        [
            "content-type: text/html; charset=utf-8",
            "content-length: 4",
            "cache-control: public, max-age=0, must-revalidate",
            "no-vary-search: params",
            "x-content-type-options: nosniff",
            "referrer-policy: strict-origin-when-cross-origin",
        ]
    );
    assert_eq!(
        all_fields(ask(&site, "GET", "/dir", "a.test")),
        ["location: /dir/", "cache-control: public, max-age=0, must-revalidate"]
    );
    // The name that was asked for tells the type, or else the one behind the link; and the tag is the contents'.
    let linked = ask(&site, "GET", "/latest", "a.test");
    assert_eq!(field(&linked, "content-type").as_deref(), Some("text/css; charset=utf-8"));
    assert_eq!(field(&linked, "etag").as_deref(), Some("\"id-of-style.css\""));
}

#[test]
fn the_type_is_the_names_and_the_bytes() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let long = |beginning: &[u8]| [beginning, &vec![b'x'; 5000][..]].concat();
    let mut branch = tree(&[("_headers", "/forced\n Content-Type: text/x-own"), ("linked.css", "-> short")]);
    for (path, contents) in [
        ("short", png.to_vec()),
        ("long", long(png)),
        ("long.txt", long(png)),
        ("404.html", long(png)),
        ("forced", png.to_vec()),
        ("page", b"<!doctype html>".to_vec()),
        ("page.txt", b"<!doctype html>".to_vec()),
        // Of what is cut, the rest of the last character is not missed.
        ("cut", [&[b'x'; 4095][..], "ä".as_bytes()].concat()),
        ("late", [&[b'x'; 4096][..], b"\0"].concat()),
    ] {
        branch.put(path, contents);
    }
    let site = open(branch, Some(0)).expect("a site");
    for (target, expect) in [
        ("/short", "image/png"),
        ("/long", "image/png"),
        ("/long.txt", "image/png"),
        ("/linked.css", "image/png"),
        ("/nothing", "image/png"),
        ("/forced", "text/x-own"),
        ("/page", "text/html; charset=utf-8"),
        ("/page.txt", "text/plain; charset=utf-8"),
        ("/cut", "text/plain; charset=utf-8"),
        ("/late", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(field(&ask(&site, "GET", target, "a.test"), "content-type").as_deref(), Some(expect), "{target}");
    }
    let mut branch = tree(&[]);
    branch.put("a", long(png));
    let mut site = open(branch, Some(0)).expect("a site");
    site.tree.faults.push(("a", Fault::Other("corrupt".into())));
    assert_eq!(line(&ask(&site, "GET", "/a", "a.test")), "500 500 Internal Server Error");
}

#[test]
fn other_methods_are_told_what_is_allowed() {
    let site = site(&FILES);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", ""] {
        let answer = ask(&site, method, "/", "a.test");
        assert_eq!(line(&answer), "405 405 Method Not Allowed");
        assert_eq!(field(&answer, "allow").as_deref(), Some("GET, HEAD"));
        assert_eq!(field(&answer, "content-length").as_deref(), Some("23"));
    }
}

#[test]
fn a_site_that_is_not_fetched_yet_asks_to_come_again() {
    let site = open(tree(&[]), None).expect("a site");
    let answer = ask(&site, "GET", "/", "a.test");
    assert_eq!(line(&answer), "503 503 Service Unavailable: this site has not been fetched yet");
    assert_eq!(field(&answer, "retry-after").as_deref(), Some("5"));
    assert_eq!(field(&answer, "cache-control").as_deref(), Some("no-store"));
}

#[test]
fn without_a_page_for_it_what_is_missing_is_told_plainly() {
    let site = site(&[("index.html", "x")]);
    let answer = ask(&site, "GET", "/nothing", "a.test");
    assert_eq!(line(&answer), "404 404 Not Found");
    assert_eq!(field(&answer, "content-type").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(field(&answer, "cache-control").as_deref(), Some("public, max-age=0, must-revalidate"));
}

#[test]
fn a_pointer_is_not_there_and_the_log_says_what_it_is() {
    let site = site(&FILES);
    for target in ["/big.bin", "/linked-big.bin"] {
        let answer = ask(&site, "GET", target, "a.test");
        assert_eq!(line(&answer), "404 [404.html]");
        assert_eq!(
            answer.log.as_deref(),
            Some("big.bin is a Git LFS pointer: the file that it stands for is not in the branch")
        );
    }
    let mut large = tree(&[]);
    large.put("large", [b"version https://git-lfs.github.com/spec/v1\n".to_vec(), vec![b'x'; 1024]].concat());
    let site = open(large, Some(0)).expect("a site");
    assert_eq!(line(&ask(&site, "GET", "/large", "a.test")), "200 [large]");
}

#[test]
fn redirects_come_before_files_and_headers_after_all() {
    let site = site(&[
        ("index.html", "x"),
        ("old.html", "x"),
        ("app/index.html", "x"),
        ("404.html", "x"),
        ("_redirects", "/old /new 301\n/app/* /app 200\n/up/* /:splat 200\n/rules /_redirects 200"),
        ("_headers", "/*\n X-Frame-Options: DENY\n Cache-Control: public, max-age=60\nhttps://b.test/*\n X-B: c"),
    ]);
    for (target, expect) in [
        ("/old?a=b", "301 -> /new?a=b"),
        ("/old.html", "200 [old.html]"),
        ("/app/x/y", "200 [app/index.html]"),
        ("/app", "308 -> /app/"),
        ("/up/old", "200 [old.html]"),
        ("/up/.env", "404 [404.html]"),
        ("/up//etc", "404 [404.html]"),
        ("/rules", "404 [404.html]"),
        ("/_redirects", "404 [404.html]"),
        ("/_headers", "404 [404.html]"),
    ] {
        assert_eq!(line(&ask(&site, "GET", target, "a.test")), expect, "{target}");
    }
    let page = ask(&site, "GET", "/", "B.test:8443");
    assert_eq!(field(&page, "cache-control").as_deref(), Some("public, max-age=60"));
    // Kept by its whole address, query and all; what is not there keeps the host's own word.
    assert_eq!(field(&page, "no-vary-search"), None);
    assert_eq!(field(&page, "x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(field(&page, "x-b").as_deref(), Some("c"));
    let missing = ask(&site, "GET", "/missing", "a.test");
    assert_eq!(field(&missing, "cache-control").as_deref(), Some(CACHE_CONTROL));
    assert_eq!(field(&missing, "x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(field(&missing, "x-b"), None);
}

#[test]
fn a_rewrite_of_everything_comes_behind_files() {
    let site = site(&[
        ("index.html", "x"),
        ("404.html", "x"),
        ("assets/app.js", "x"),
        ("docs/index.html", "x"),
        ("_redirects", "/* /index.html 200\n/old /new 301"),
        ("_headers", "/assets/*\n  Cache-Control: public, immutable\n  X-Kind: asset"),
    ]);
    for (target, expect) in [
        ("/", "200 [index.html]"),
        ("/users/7?a", "200 [index.html]"),
        ("/.env", "200 [index.html]"),
        ("/assets/app.js", "200 [assets/app.js]"),
        ("/docs", "308 -> /docs/"),
        ("/old", "301 -> /new"),
    ] {
        assert_eq!(line(&ask(&site, "GET", target, "a.test")), expect, "{target}");
    }
    // What is not there may be there in a moment: it is not kept as if it were.
    for (target, kept) in [("/assets/app.js", "public, immutable"), ("/assets/gone.js", CACHE_CONTROL)] {
        let answer = ask(&site, "GET", target, "a.test");
        assert_eq!(field(&answer, "cache-control").as_deref(), Some(kept), "{target}");
        assert_eq!(field(&answer, "x-kind").as_deref(), Some("asset"), "{target}");
    }
}

#[test]
fn what_can_not_be_read_is_a_failure_and_is_logged() {
    let mut branch = tree(&[("a.html", "x")]);
    branch.faults.push(("a", Fault::Other("corrupt: object 12 is missing".into())));
    let site = open(branch, Some(0)).expect("a site");
    let answer = ask(&site, "GET", "/a?q", "a.test");
    assert_eq!(line(&answer), "500 500 Internal Server Error");
    assert_eq!(answer.log.as_deref(), Some("/a: corrupt: object 12 is missing"));

    let mut branch = tree(&[]);
    branch.faults.push(("_headers", Fault::Other("larger than 1 MiB".into())));
    assert_eq!(open(branch, Some(0)).err().as_deref(), Some("_headers: larger than 1 MiB"));
}

#[test]
fn little_is_asked_for_a_page() {
    let mut branch = tree(&FILES);
    branch.put("page", vec![b'x'; 4096]);
    branch.put("long", vec![b'x'; 4097]);
    let site = open(branch, Some(0)).expect("a site");
    for (target, expect) in [
        ("/", &["entry index.html", "size index.html", "contents index.html"][..]),
        ("/about", &["entry about", "entry about.html", "size about.html", "contents about.html"]),
        ("/nothing", &["entry nothing", "entry nothing.html"]),
        ("/.env", &[]),
        ("/style.css", &["entry style.css", "size style.css", "contents style.css"]),
        ("/page", &["entry page", "size page", "contents page"]),
        ("/long", &["entry long", "size long", "beginning long"]),
    ] {
        site.tree().asked.borrow_mut().clear();
        ask(&site, "GET", target, "a.test");
        assert_eq!(*site.tree().asked.borrow(), expect, "{target}");
    }
}

/// The host carries so much of one response, and what rules make of a path is known when it is asked for.
#[test]
fn a_path_that_rules_make_too_much_of_is_too_long() {
    let headers = (0..25).map(|n| format!(" X-{n}: :splat\n")).collect::<Vec<_>>().concat();
    let site = site(&[
        ("index.html", "x"),
        ("_headers", &format!("/*\n{headers}")),
        ("_redirects", "/old/* /:splat/:splat/:splat 301"),
    ]);
    let (long, longer) = ("x".repeat(2_000), "x".repeat(25_000));
    for (target, expect) in [
        ("/", "200 [index.html]".to_owned()),
        (&*format!("/{long}"), "404 404 Not Found".to_owned()),
        (&format!("/{longer}"), "414 414 URI Too Long".to_owned()),
        (&format!("/old/{long}"), format!("301 -> /{long}/{long}/{long}")),
        (&format!("/old/{longer}"), "414 414 URI Too Long".to_owned()),
    ] {
        let answer = ask(&site, "GET", target, "a.test");
        assert_eq!(line(&answer), expect, "{} bytes", target.len());
    }
}

#[test]
fn the_host_is_the_authority_without_its_port() {
    for (authority, expect) in
        [("a.test", "a.test"), ("A.Test:8443", "a.test"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")]
    {
        assert_eq!(host(authority), expect);
    }
}
