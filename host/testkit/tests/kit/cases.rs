//! Cases files: what passes, what is told of what does not, and what is no cases file.

use std::path::Path;

use atoll_testkit::{
    Component,
    cases::{self, Report},
};

use crate::support::{component, fixture};

fn run(component: &Component, text: &str) -> Report {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("CASES.toml");
    cases::run(component, text, &here).unwrap()
}

fn passes(component: &Component, text: &str, cases: usize) {
    let report = run(component, text);
    assert!(report.passed(), "{report}");
    assert_eq!(report.outcomes.len(), cases);
}

/// The report without its times.
fn shown(report: &Report) -> String {
    let cut = |line: &str| match line.split_once(" ms  ") {
        Some((before, name)) => format!("{} {name}", before.split(' ').next().unwrap_or_default()),
        None => line.to_owned(),
    };
    report.to_string().lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_site_is_tested() {
    passes(
        &component("site"),
        r#"
            [repository.pages]
            "index.html" = "<h1>x</h1>"
            "about.html" = "<p>about</p>"
            "Cargo.toml" = { file = "Cargo.toml" }
            "link.html" = { symlink = "about.html" }
            "run.sh" = { text = "true", executable = true }
            "vendor" = { submodule = "1234567890123456789012345678901234567890" }
            [commit.pages]
            revision = "5ca1ab1e"
            committed = 1700000000

            [[case]]
            name    = "the index"
            request = { path = "/", fields = { accept = "text/html" } }
            expect  = { status = 200, fields = { content-type = "text/html; charset=utf-8" }, body = "<h1>x</h1>", log = [] }

            [[case]]
            request = { path = "/about" }
            expect  = { body-contains = ["about", "<p>"], fields = { set-cookie = false }, marked = false }

            [[case]]
            name    = "a file from beside this one"
            request = { path = "/Cargo.toml" }
            expect  = { status = 200, body-contains = 'name = "atoll-testkit"' }

            [[case]]
            name    = "a link"
            request = { path = "/link" }
            expect  = { body = "<p>about</p>" }

            [[case]]
            name    = "a submodule"
            request = { path = "/vendor/" }
            expect  = { status = 404 }

            [[case]]
            name    = "what can't be written to"
            request = { method = "DELETE", path = "/" }
            expect  = { status = 405, fields = { allow = "GET, HEAD" } }

            [[case]]
            name     = "nothing wrong with it"
            validate = true
            expect   = { problems = [] }

            [[case]]
            name     = "a broken line"
            validate = true
            repository.pages = { "_redirects" = "/a\n\n/b /c/:splat\n/x/* /x/:splat 301\n" }
            expect   = { problems = ["_redirects:1: ", "_redirects:3: destination `/c/:splat`", "_redirects:4: from there a client is redirected again"] }
        "#,
        8,
    );
}

#[test]
fn a_router_is_tested() {
    passes(
        &component("router"),
        r#"
            [upstreams]
            app = "url"
            [repository.routes]
            "a.test.toml" = '''
                upstream = "site"
                [[path]]
                prefix = "/api"
                upstream = "app"
                strip = true
                add = "/v1"
                [path.request]
                set = { x-a = "1" }
                remove = ["cookie"]
                [[path]]
                prefix = "/old"
                redirect = { to = "/new", status = 308 }
                [[path]]
                prefix = "/private"
                refuse = 403
            '''

            [[case]]
            request = { authority = "a.test", path = "/" }
            expect  = { forward = "site" }
            [[case]]
            request = { authority = "a.test", path = "/api/x" }
            expect  = { forward = "app", strip = "/api", add = "/v1", request = { set = { x-a = "1" }, remove = "cookie" }, response = {} }
            [[case]]
            request = { authority = "a.test", path = "/old/x?q=1" }
            expect  = { redirect = { status = 308, location = "/new/x?q=1" } }
            [[case]]
            request = { authority = "a.test", path = "/private/x" }
            expect  = { refuse = 403 }
            [[case]]
            validate = true
            expect   = { problems = [] }
            [[case]]
            validate = true
            repository.routes = { "b.test.toml" = "\nupstream = \"nobody\"" }
            expect   = { problems = ["b.test.toml:2: "] }
            [[case]]
            validate = true
            repository.routes = { "c.test.toml" = "[[path]]\nprefix = \"/l\"\nredirect = { to = \"/l/x\" }" }
            expect   = { problems = ["c.test.toml:3: `to` is \"/l/x\": from there a client is redirected again"] }
        "#,
        7,
    );
}

#[test]
fn an_agent_is_tested() {
    passes(
        &fixture("agent_tick"),
        "
            [[case]]
            name    = \"wakes in an hour\"
            tick    = 1700000000
            expect  = { next = 1700003600, log = \"nothing due\", sent = [] }
        ",
        1,
    );
}

#[test]
fn what_is_published_is_tested() {
    passes(
        &fixture("publisher"),
        r#"
            [repository.site]
            "index.html" = "old"

            [[case]]
            repository.orders = { orders = "open site\nwrite index.html new\ncommit Ann m" }
            tick   = 1700000000
            expect = { published = { site = { "index.html" = "new" } }, log = "commit Ann m: " }
            [[case]]
            repository.orders = { orders = "open site\nwrite index.html old\ncommit Ann m" }
            tick   = 1700000000
            expect = { published = {} }
        "#,
        2,
    );
    let orders =
        "[repository.orders]\norders = \"open site\\nwrite index.html new\\ncommit Ann m\"\n[repository.site]\n";
    for (expected, what, wanted, got) in [
        ("{}", "published", "nothing", "\"site: m\""),
        ("{ other = {} }", "published.other", "a commit", "none"),
        ("{ site = { \"a\" = \"x\" } }", "published.site.\"a\"", "\"x\"", "no such file"),
        ("{ site = { \"index.html\" = \"x\" } }", "published.site.\"index.html\"", "\"x\"", "\"new\""),
    ] {
        let text = format!("{orders}[[case]]\ntick = 1\nexpect = {{ published = {expected} }}\n");
        let report = atoll_testkit::cases::run(&fixture("publisher"), &text, std::path::Path::new("c.toml")).unwrap();
        let [difference] = &report.outcomes[0].differences[..] else { panic!("{:?}", report.outcomes[0]) };
        assert_eq!((&*difference.what, &*difference.expected, &*difference.got), (what, wanted, got));
    }
}

#[test]
fn misdeeds_and_the_world_are_tested() {
    passes(
        &fixture("mischief"),
        r#"
            clock = 1234567890
            [env]
            THEME = "dark"
            [repository.pages]
            [outbound."https://api.example.org"]
            "/v1" = { status = 201, fields = { x-a = "1" }, body = "{}" }
            "/empty" = {}

            [[case]]
            request = { path = "/env" }
            expect  = { body = "THEME=dark\n" }
            [[case]]
            request = { path = "/clock" }
            expect  = { body = "1234567890 1\n", marked = true }
            [[case]]
            request = { path = "/outbound?url=https://api.example.org/v1" }
            expect  = { body = "201\n{}", sent = "GET https://api.example.org/v1" }
            [[case]]
            request = { path = "/outbound?url=https://api.example.org/empty" }
            expect  = { body = "200\n" }
            [[case]]
            request = { path = "/outbound?url=https://other.test/" }
            expect  = { body = "ErrorCode::HttpRequestDenied\n", log = "denied: GET https://other.test/" }
            [[case]]
            request = { path = "/head", method = "PUT", scheme = "http", authority = "a.test:81", fields = { x-a = ["1", "2"] }, body = "x" }
            expect  = { body = "Method::Put /head\nscheme: Some(Scheme::Http)\nauthority: a.test:81\nx-a: 1\nx-a: 2\n" }
            [[case]]
            request = { path = "/trap" }
            expect  = { failure = "wasm trap", log = "wasm backtrace" }
            [[case]]
            request = { path = "/trap-midbody" }
            expect  = { status = 200, body = "some of the body\n", failure = "broke off after 17 bytes" }
            [[case]]
            request = { path = "/count" }
            expect  = { body = "1\n" }
            [[case]]
            name    = "no case sees what another did"
            request = { path = "/count" }
            expect  = { body = "1\n" }
        "#,
        10,
    );
}

#[test]
fn what_differs_is_told_in_words() {
    let report = run(
        &fixture("mischief"),
        r#"
[repository.pages]
[[case]]
name    = "a response"
request = { path = "/respond?status=404&f=x-a:1&body=0123456789012345678901234567890123456789012345678901234567890one&line=x" }
expect  = { status = 200, fields = { x-a = ["1", "2"], x-b = "3" }, body = "0123456789012345678901234567890123456789012345678901234567890two", body-contains = "three", marked = true, log = "said", sent = ["GET https://a.test/"] }
[[case]]
name    = "a failure that is none"
request = { path = "/" }
expect  = { failure = "trap" }
[[case]]
name    = "no failure that is one"
request = { path = "/nothing" }
expect  = { status = 200 }
[[case]]
name    = "well"
request = { path = "/" }
expect  = { status = 200 }
"#,
    );
    assert!(!report.passed());
    assert_eq!(
        shown(&report),
        r#"FAILED a response (line 3)
    status: expected 200, got 404
    field x-a: expected "1", "2", got "1"
    field x-b: expected "3", got nothing
    body: expected … "1234567890123456789012345678901234567890two", got … "1234567890123456789012345678901234567890one"
    body: expected "three" in it, got "0123456789012345678901234567890123456789012345678901234567890one"
    marked: expected true, got false
    sent: expected "GET https://a.test/", got nothing
    log: expected a line with "said", got nothing
FAILED a failure that is none (line 7)
    failure: expected one with "trap", got an answer
FAILED no failure that is one (line 11)
    answer: expected one, got no response: internal-error: nothing to say\nand a second line
    log: no response: internal-error: nothing to say\nand a second line
ok well
mischief: 1 passed, 3 failed"#
    );
}

#[test]
fn a_decision_that_differs_is_told_in_words() {
    let report = run(
        &component("router"),
        r#"
[upstreams]
app = "url"
[repository.routes]
"a.test.toml" = "upstream = \"site\"\n[[path]]\nprefix = \"/api\"\nupstream = \"app\"\nstrip = true\n[path.response]\nset = { x-a = \"1\" }\n[[path]]\nprefix = \"/old\"\nredirect = { to = \"/new\", status = 308 }\n"
[[case]]
name    = "the upstream"
request = { authority = "a.test", path = "/api" }
expect  = { forward = "site", add = "/v1", response = { remove = "x-a" } }
[[case]]
name    = "no redirect"
request = { authority = "a.test", path = "/api" }
expect  = { redirect = { location = "/x" } }
[[case]]
name    = "another redirect"
request = { authority = "a.test", path = "/old" }
expect  = { redirect = { location = "/other", status = 301 } }
[[case]]
name    = "no refusal"
request = { authority = "a.test", path = "/old" }
expect  = { refuse = 404 }
[[case]]
name     = "problems"
validate = true
expect   = { problems = "something" }
"#,
    );
    assert_eq!(
        shown(&report),
        r#"FAILED the upstream (line 6)
    forward: expected "site", got "app"
    strip: expected nothing, got "/api"
    add: expected "/v1", got nothing
    response: expected "remove x-a", got "set x-a: 1"
FAILED no redirect (line 10)
    decision: expected redirect to "/x", got forward to "app", strip "/api"
FAILED another redirect (line 14)
    status: expected 301, got 308
    location: expected "/other", got "/new"
FAILED no refusal (line 18)
    decision: expected refuse with 404, got redirect to "/new" with 308
FAILED problems (line 22)
    problems: expected "something", got nothing
router: 0 passed, 5 failed"#
    );
}

#[test]
fn what_is_not_granted_fails_its_case() {
    let report = run(&component("site"), "[[case]]\nrequest = { path = \"/\" }\nexpect = {}\n");
    assert_eq!(
        shown(&report),
        "FAILED case 1 (line 1)\n    answer: expected one, got imports atoll:host/repository@0.1.0, which is not granted; \
         add to [component.site]: git = { NAME = \"read\" }, NAME being a [git.NAME] of the manifest\n\
         site: 0 passed, 1 failed"
    );
}

const CASE: &str = "[[case]]\nrequest = { path = \"/\" }\nexpect = {}\n";

#[test]
fn what_is_no_cases_file_is_told_with_its_line() {
    let site = component("site");
    for (text, message) in [
        ("[[case]", "1: unclosed array table, expected `]`"),
        ("x = 1\nx = 2", "2: duplicate key"),
        ("\n[repositories.pages]", "2: unknown key `repositories` in the file: did you mean `repository`?"),
        (
            "colour = 1",
            "1: unknown key `colour` in the file: there may be `clock`, `env`, `outbound`, `commit`, `repository`, \
             `upstreams`, `case`",
        ),
        ("clock = \"now\"", "1: `clock` is a text: it should be a whole number"),
        ("clock = -1", "1: `clock` is -1: it should be between 0 and 18446744073709551615"),
        ("[env]\nA = 1", "2: `A` is a number: it should be a text"),
        ("[repository.pages]\n\"/a\" = \"\"", "1: \"/a\" is no path of a file in a Git tree"),
        ("[repository]\npages = 1", "2: `pages` is a number: it should be a table"),
        (
            "[repository.pages]\n\"a\" = { symlink = \"b\", text = \"c\" }",
            "2: `a` should have one of `text`, `file`, `symlink` and `submodule`",
        ),
        ("[repository.pages]\n\"a\" = { link = \"b\" }", "2: unknown key `link` in `a`: there may be"),
        ("[repository.pages]\n\"a\" = { file = \"no/such\" }", "2: can't read "),
        ("[commit.pages]\nrevision = \"1\"", "1: there is no [repository.pages] for this commit"),
        ("[upstreams]\napp = \"service\"", "2: `app` should be \"component\" or \"url\""),
        ("[outbound.\"a.test\"]", "1: `a.test` is no origin: write https://NAME or https://NAME:PORT"),
        ("[outbound.\"https://a.test\"]\n\"/\" = { status = 99 }", "2: `/` is no HTTP response"),
        (
            "[outbound.\"https://a.test\"]\n\"/\" = { statsu = 200 }",
            "2: unknown key `statsu` in an answer: did you mean `status`?",
        ),
        ("case = 1", "1: `case` is a number: it should be a list of tables"),
        ("[[case]]\nexpect = {}", "1: [[case]] has to have one of `request`, `tick` and `validate`"),
        ("[[case]]\ntick = 1\nexpect = {}", "2: `tick` is for agents, and site is a component of the role: service"),
        ("[[case]]\nvalidate = false\nexpect = {}", "2: `validate` is true or false: it should be true"),
        ("[[case]]\nrequest = { path = \"/\" }", "1: [[case]] has no `expect`"),
        ("[[case]]\nrequest = {}\nexpect = {}", "2: `request` has no `path`"),
        ("[[case]]\nrequest = { path = \"x\" }\nexpect = {}", "2: \"x\" is no path: it begins with /"),
        ("[[case]]\nrequest = { path = \"/\", client = \"x\" }\nexpect = {}", "2: `client` is no IP address"),
        ("[[case]]\nrequest = { path = \"/\", fields = { a = [1] } }\nexpect = {}", "2: `a` should hold texts alone"),
        ("[[case]]\nrequest = { paht = \"/\" }\nexpect = {}", "2: `request` has no `path`"),
        (
            "[[case]]\nrequest = { path = \"/\" }\nexpect = { forward = \"a\" }",
            "3: unknown key `forward` in `expect`: there may be `log`, `failure`, `sent`, `published`, `fields`, `status`, `body`, \
             `body-contains`, `marked`",
        ),
        (
            "[[case]]\nrequest = { path = \"/\" }\nexpect = { statsu = 1 }",
            "3: unknown key `statsu` in `expect`: did you mean `status`?",
        ),
        (
            "[[case]]\nname = \"x\"\nrequest = { path = \"/\" }\nexpect = {}\nexpects = {}",
            "5: unknown key `expects` in [[case]]: did you mean `expect`?",
        ),
    ] {
        let mistake = cases::run(&site, text, Path::new("CASES.toml")).unwrap_err().to_string();
        assert!(mistake.starts_with(&format!("CASES.toml:{message}")), "{text}: {mistake}");
    }
    let router = component("router");
    for (expect, message) in [
        ("{ strip = \"/a\" }", "3: `expect` has `strip`, `add`, `request` or `response` without `forward`"),
        (
            "{ forward = \"a\", refuse = 403 }",
            "3: `expect` may have one of `forward` (with what goes with it), `redirect` and `refuse`",
        ),
        ("{ redirect = { to = \"/\" } }", "3: unknown key `to` in `redirect`: there may be `status`, `location`"),
        ("{ next = 1 }", "3: unknown key `next` in `expect`: "),
    ] {
        let text = CASE.replace("{}", expect);
        let mistake = cases::run(&router, &text, Path::new("CASES.toml")).unwrap_err().to_string();
        assert!(mistake.starts_with(&format!("CASES.toml:{message}")), "{text}: {mistake}");
    }
}
