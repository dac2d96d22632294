//! Manifests with a mistake, and exactly what is said about each.

use std::path::PathBuf;

use super::{Fixture, SITE};
use crate::manifest::{Options, load};

/// What is said about a manifest, line by line.
#[track_caller]
fn check(manifest: &str, expected: &[&str]) {
    let fixture = Fixture::new();
    let problems = fixture.load(manifest, Options::default()).expect_err(manifest);
    let said = problems.0.iter().map(|problem| fixture.shown(problem)).collect::<Vec<_>>();
    assert_eq!(said, expected, "{manifest}");
}

/// About a manifest that has `lines` and a component beside.
#[track_caller]
fn check_beside(lines: &str, expected: &[&str]) {
    check(&format!("{lines}\n{SITE}"), expected);
}

/// About a component's table, whose first line is 3 of the file.
#[track_caller]
fn check_component(lines: &str, expected: &[&str]) {
    check(&format!("{SITE}{lines}"), expected);
}

#[test]
fn syntax() {
    check_beside("[listen]\nhttp = ", &["host.toml:2: string values must be quoted, expected literal string"]);
    check_beside(
        "[listen]\nhttp = \"x\nredirect = maybe",
        &[
            "host.toml:2: invalid basic string, expected `\"`",
            "host.toml:3: string values must be quoted, expected literal string",
        ],
    );
    check_beside(
        "[listen]\nredirect = true\nredirect = false\nbogus = 1",
        &[
            "host.toml:3: `redirect` is here a second time",
            "host.toml:4: unknown key `bogus` in [listen]; known are `http`, `https`, `trusted`, `redirect`, `proxied`",
        ],
    );
    check(
        "[component.site]\npath = 'site.wasm'\n\n[component.site]\npath = 'site.wasm'\n",
        &["host.toml:4: `site` is here a second time", "host.toml:5: `path` is here a second time"],
    );
    check("", &["host.toml: has no component: add a table [component.NAME] with its `path`"]);
}

#[test]
fn unknown_keys() {
    check_beside(
        "[gti.pages]\nremote = 'public'",
        &["host.toml:1: unknown key `gti` in the manifest; did you mean `git`?"],
    );
    check_beside(
        "[connection.cache]",
        &[
            "host.toml:1: unknown key `connection` in the manifest; known are `listen`, `git`, `upstream`, `component`, `certificate`, `memory`, `log`, `limits`",
        ],
    );
    check_component(
        "memroy = '64MiB'",
        &["host.toml:3: unknown key `memroy` in [component.site]; did you mean `memory`?"],
    );
    check_component(
        "raw-path = true",
        &[
            "host.toml:3: unknown key `raw-path` in [component.site]; known are `path`, `git`, `http`, `env`, `probe`, `memory`, `timeout`, `concurrency`, `instances`, `idle`, `drain`",
        ],
    );
    check_beside(
        "[upstream.app]\nurl = 'http://a.test'\nraw_path = true",
        &["host.toml:3: unknown key `raw_path` in [upstream.app]; did you mean `raw-path`?"],
    );
    check_beside(
        "[git.pages]\nremote = 'public'\nbranhc = 'main'",
        &["host.toml:3: unknown key `branhc` in [git.pages]; did you mean `branch`?"],
    );
    check_beside(
        "[log]\naccess = 'json'\n\"a\\u001b[2J\" = 1",
        &["host.toml:3: unknown key `a\\u{1b}[2J` in [log]; known are `access`"],
    );
    check_beside(
        "[memory]\nanswer = '1MiB'",
        &["host.toml:2: unknown key `answer` in [memory]; did you mean `answers`?"],
    );
    check_beside(
        "[[certificate]]\nchain = 'chain.pem'\nkey = 'key.pem'\nca = 'ca.pem'",
        &["host.toml:4: unknown key `ca` in [[certificate]]; known are `chain`, `key`"],
    );
}

#[test]
fn types() {
    check_beside("listen = 1", &["host.toml:1: `listen`: this is an integer; expected a table, [listen]"]);
    check_beside("[git]\npages = 'public'", &["host.toml:2: `pages`: this is a string; expected a table, [git.pages]"]);
    check_beside("git = []", &["host.toml:1: `git`: this is an array; expected one table each, [git.NAME]"]);
    check_beside(
        "[certificate]\nchain = 'chain.pem'",
        &["host.toml:1: `certificate`: this is a table; expected tables headed [[certificate]]"],
    );
    check_beside(
        "[listen]\nhttp = 8080",
        &["host.toml:2: `http`: this is an integer; expected a string or a list of strings"],
    );
    check_beside(
        "[listen]\nhttp = ['127.0.0.1:1',\n 8080]",
        &["host.toml:3: `http`: this is an integer; expected a string"],
    );
    check_beside("[listen]\nredirect = 'no'", &["host.toml:2: `redirect`: this is a string; expected true or false"]);
    check_component("path = 1", &["host.toml:3: `path` is here a second time"]);
    check_component("concurrency = '1'", &["host.toml:3: `concurrency`: this is a string; expected a whole number"]);
    check_component("env = ['A=b']", &["host.toml:3: `env`: this is an array; expected { NAME = \"value\" }"]);
    check_component("env = { A = 1 }", &["host.toml:3: `A`: this is an integer; expected a string"]);
    check_component("git = 'read'", &["host.toml:3: `git`: this is a string; expected { NAME = \"read\" }"]);
    check("[component.site]\npath = 1979-05-27\n", &["host.toml:2: `path`: this is a datetime; expected a string"]);
}

#[test]
fn listeners() {
    check_beside(
        "[listen]\nhttp = '127.0.0.1:80'\nproxied = ['127.0.0.1:80', '127.0.0.1:81']",
        &["host.toml:1: [listen] has 127.0.0.1:81 in `proxied`, and in neither `http` nor `https`"],
    );
    check_beside(
        "[listen]\nhttp = '8080'",
        &["host.toml:2: `http`: `8080` is not an IP address and a port: write \"127.0.0.1:8080\""],
    );
    check_beside(
        "[listen]\nhttps = ['localhost:8443', ':8443', 'example.org']",
        &[
            "host.toml:2: `https`: `localhost:8443` is not an IP address and a port: write \"127.0.0.1:8443\"",
            "host.toml:2: `https`: `:8443` is not an IP address and a port: write \"127.0.0.1:8443\"",
            "host.toml:2: `https`: `example.org` is not an IP address and a port: write \"127.0.0.1:8080\" or \"[::1]:8080\"",
        ],
    );
    check_beside(
        "[listen]\nhttp = []",
        &["host.toml:2: `http`: the list is empty: name at least one, or leave the key out"],
    );
    check_beside(
        "[listen]\nhttp = ['127.0.0.1:1', '127.0.0.1:1']",
        &["host.toml:2: `http`: the list has `127.0.0.1:1` twice"],
    );
    check_beside(
        "[listen]\nhttp = '127.0.0.1:1'\nhttps = '127.0.0.1:1'",
        &["host.toml:1: [listen] has 127.0.0.1:1 for both `http` and `https`: one address, one protocol"],
    );
    for addresses in ["http = ['127.0.0.1:1', '0.0.0.0:1']", "https = '127.0.0.1:1'\nhttp = '0.0.0.0:1'"] {
        check_beside(
            &format!("[listen]\n{addresses}"),
            &[
                "host.toml:1: [listen] has 0.0.0.0:1 beside 127.0.0.1:1, which is one of its addresses: leave one of them out",
            ],
        );
    }
    check_beside(
        "[listen]\ntrusted = ['10.0.0.1', '10.0.0.1/8', 'proxy', '::/129']",
        &[
            "host.toml:2: `trusted`: `10.0.0.1` has no prefix length: write \"10.0.0.1/32\"",
            "host.toml:2: `trusted`: `10.0.0.1/8` has bits beyond its prefix: write \"10.0.0.0/8\"",
            "host.toml:2: `trusted`: `proxy` is not a network: write \"10.0.0.0/8\" or \"fd00::/8\"",
            "host.toml:2: `trusted`: `::/129` is not a network: write \"10.0.0.0/8\" or \"fd00::/8\"",
        ],
    );
}

#[test]
fn bindings() {
    check_beside(
        "[git.pages]",
        &[
            "host.toml:1: [git.pages] has no `remote`: a repository's address, or the path of a repository or a directory",
        ],
    );
    check_beside(
        "[git.\"../x\"]\nremote = 'public'",
        &[
            "host.toml:1: `../x` is not a name: letters, digits, `-`, `_` and single `.`, at most 64, a letter or digit first",
        ],
    );
    check_beside(
        "[git.pages]\nremote = 'public'\nkey = 'key.pem'\nbranch = 'a b'\npoll = '0s'",
        &[
            "host.toml:3: `key`: goes with an address over SSH, and `remote` is a path",
            "host.toml:4: `branch`: `a b` cannot be a branch's name",
            "host.toml:5: `poll`: `0s` is not between 1s and 24h",
        ],
    );
    for (depth, message) in [
        ("0", "0 is not between 1 and 1000000"),
        ("-1", "-1 is not between 1 and 1000000"),
        ("1000001", "1000001 is not between 1 and 1000000"),
        ("'0'", "`0` is neither \"all\" nor a number of commits"),
        ("true", "this is a boolean; expected a whole number"),
    ] {
        let lines = format!("[git.pages]\nremote = 'public'\ndepth = {depth}");
        check_beside(&lines, &[&format!("host.toml:3: `depth`: {message}")]);
    }
    check_beside(
        "[git.pages]\nremote = 'public'\npoll = 60",
        &["host.toml:3: `poll`: `60` has no unit: write \"60s\" (or another of ms, s, m, h)"],
    );
    check_beside(
        "[git.pages]\nremote = 'https://me:secret@a.test/x'\ntoken = 'token'",
        &[
            "host.toml:2: `remote`: credentials do not belong in a URL: put the token in a file and name it, token = \"FILE\"",
        ],
    );
    check_beside("[git.pages]\nremote = 'public'\nhook = 'none'", &["host.toml:3: `hook`: there is no file `none`"]);
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'none'\npin = 'SHA256:x'\nca = 'ca.pem'",
        &[
            "host.toml:3: `key`: there is no file `none`",
            "host.toml:4: `pin`: `SHA256:x` is not a fingerprint: `SHA256:` and 43 characters, as `ssh-keygen -l` prints it",
            "host.toml:5: `ca`: goes with an https:// URL, and `remote` is an address over SSH",
        ],
    );
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'seed:ed25519:none'",
        &["host.toml:3: `key`: there is no file `none`"],
    );
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'env:NO_SUCH_KEY'\npassphrase = 'env:'\nhook = 'env:2'",
        &[
            "host.toml:3: `key`: there is no variable `NO_SUCH_KEY` in the environment",
            "host.toml:4: `passphrase`: `` is not a variable's name; for a file write \"./env:\"",
            "host.toml:5: `hook`: `2` is not a variable's name; for a file write \"./env:2\"",
        ],
    );
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'seed:ed25519:env:NO_SUCH_SEED'",
        &["host.toml:3: `key`: there is no variable `NO_SUCH_SEED` in the environment"],
    );
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'agent:'\npassphrase = 'token'",
        &[
            "host.toml:3: `key`: is an agent, which asks for passphrases itself",
            "host.toml:3: `key`: is empty: name a socket",
        ],
    );
    for (kind, message) in [
        ("dsa", "`dsa` is no key: write \"seed:ed25519:FILE\" or \"seed:rsa-3072:FILE\""),
        ("rsa", "`rsa` is no key: write \"seed:ed25519:FILE\" or \"seed:rsa-3072:FILE\""),
        ("rsa-1024", "an RSA key from a seed has 2048 to 8192 bits, a multiple of 128, and not 1024"),
        ("rsa-2050", "an RSA key from a seed has 2048 to 8192 bits, a multiple of 128, and not 2050"),
    ] {
        let lines = format!("[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'seed:{kind}:token'");
        check_beside(&lines, &[&format!("host.toml:3: `key`: {message}")]);
    }
    check_beside(
        "[git.pages]\nremote = 'git@a.test:x.git'\nkey = 'seed:ed25519:token'\npassphrase = 'token'",
        &["host.toml:3: `key`: is a seed, which has no passphrase"],
    );
    check_beside(
        "[git.pages]\nremote = 'http://a.test/x'\ntoken = 'token'",
        &["host.toml:3: `token`: goes with an https:// URL, and `remote` is an http:// URL"],
    );
}

#[test]
fn upstreams() {
    for (line, message) in [
        (
            "timeout = '1m'",
            "unknown key `timeout` in [upstream.app]; known are `url`, `protocol`, `raw-path`, `connect`, `response`, `ca`",
        ),
        ("reponse = '1m'", "unknown key `reponse` in [upstream.app]; did you mean `response`?"),
        ("connect = 5", "`connect`: `5` has no unit: write \"5s\" (or another of ms, s, m, h)"),
        ("response = '25h'", "`response`: `25h` is not between 1s and 24h"),
    ] {
        let manifest = format!("[upstream.app]\nurl = 'http://a.test'\n{line}");
        check_beside(&manifest, &[&format!("host.toml:3: {message}")]);
    }
    check_beside(
        "[upstream.app]\nraw-path = false",
        &["host.toml:1: [upstream.app] has no `url`: \"http://10.0.0.3:80\", or a list of such"],
    );
    check_beside(
        "[upstream.app]\nurl = []",
        &["host.toml:2: `url`: the list is empty: name at least one, or leave the key out"],
    );
    check_beside(
        "[upstream.app]\nurl = ['http://a.test/v1', 'http://b.test']",
        &["host.toml:2: `url`: `http://a.test/v1` has more than scheme, host and port: write \"http://a.test\""],
    );
    check_beside(
        "[upstream.app]\nurl = 'http://me:secret@a.test'",
        &[
            "host.toml:2: `url`: credentials do not belong in a URL: leave them out; who sends the request sets `authorization`",
        ],
    );
    check_beside(
        "[upstream.app]\nurl = 'http://a.test'\nprotocol = 'h2'\nca = 'ca.pem'",
        &[
            "host.toml:1: [upstream.app] has a `ca`, and no `url` is https://",
            "host.toml:3: `protocol`: `h2` is none of \"http/1.1\", \"h2c\"",
        ],
    );
    check_beside(
        "[upstream.app]\nurl = 'https://a.test'\nprotocol = 'h2c'",
        &["host.toml:1: [upstream.app] has a `protocol`, and every `url` is https://, where ALPN says: leave it out"],
    );
    check_beside(
        "[upstream.site]\nurl = 'http://a.test'",
        &["host.toml:3: [component.site] has the name of the upstream in line 1: a route could mean either"],
    );
}

#[test]
fn components() {
    check(
        "[component.site]",
        &["host.toml:1: [component.site] has no `path`: write path = \"site.wasm\", or give site.wasm as an argument"],
    );
    check("[component.site]\npath = 'sites.wasm'", &["host.toml:2: `path`: there is no file `sites.wasm`"]);
    check("[component.site]\npath = 'public'", &["host.toml:2: `path`: `public` is not a file"]);
    check("[component.site]\npath = ''", &["host.toml:2: `path`: is empty: name a file"]);
    check_component(
        "memory = '64MB'\ntimeout = 5\ndrain = '5min'",
        &[
            "host.toml:3: `memory`: `64MB` is not a size (units are KiB, MiB, GiB): write \"64MiB\"",
            "host.toml:4: `timeout`: `5` has no unit: write \"5s\" (or another of ms, s, m, h)",
            "host.toml:5: `drain`: `5min` is not a duration (units are ms, s, m, h): write \"5m\"",
        ],
    );
    check_component(
        "memory = '5GiB'\ntimeout = '0s'\nconcurrency = 0\ninstances = 100000",
        &[
            "host.toml:3: `memory`: `5GiB` is not between 64KiB and 4GiB",
            "host.toml:4: `timeout`: `0s` is not between 1ms and 24h",
            "host.toml:5: `concurrency`: 0 is not between 1 and 1000",
            "host.toml:6: `instances`: 100000 is not between 1 and 1000",
        ],
    );
    check_component("concurrency = -1", &["host.toml:3: `concurrency`: -1 is not between 1 and 1000"]);
    check_component(
        "probe = 'healthz'",
        &["host.toml:3: `probe`: `healthz` is not a path: it begins with `/`, with what has to be encoded encoded"],
    );
    check_component(
        "probe = '/a b#c'",
        &["host.toml:3: `probe`: `/a b#c` is not a path: it begins with `/`, with what has to be encoded encoded"],
    );
    check_component("env = { 'A=B' = 'x' }", &["host.toml:3: `A=B`: a variable's name is not empty and has no `=`"]);
    check_component("http = []", &["host.toml:3: `http`: the list is empty: name at least one, or leave the key out"]);
    check_component(
        "http = ['https://a.test', 'https://A.test:443', 'https://a.test/x', '*']",
        &[
            "host.toml:3: `http`: the list has `https://A.test:443` twice",
            "host.toml:3: `http`: `https://a.test/x` has more than scheme, host and port: write \"https://a.test\"",
            "host.toml:3: `http`: `*` is not a URL: write \"https://host\" or \"http://host\"",
        ],
    );
}

#[test]
fn grants() {
    let pages = "[git.pages]\nremote = 'public'\n";
    check_component(
        "git = { pages = 'read' }",
        &["host.toml:3: there is no binding `pages`; define it in a table [git.pages]"],
    );
    check_component(
        &format!("git = {{ pagse = 'read' }}\n{pages}"),
        &["host.toml:3: there is no binding `pagse`; did you mean `pages`?"],
    );
    check_component(
        &format!("git = {{ a = {{ from = 'b', mode = 'read' }} }}\n{pages}"),
        &["host.toml:3: there is no binding `b`; define it in a table [git.b]"],
    );
    check_component(
        &format!("git = {{ pages = 'rw' }}\n{pages}"),
        &["host.toml:3: `pages`: `rw` is neither \"read\" nor \"write\""],
    );
    check_component(
        &format!("git = {{ pages = {{ form = 'b' }} }}\n{pages}"),
        &[
            "host.toml:3: `git.pages` has no `mode`: \"read\" or \"write\"",
            "host.toml:3: unknown key `form` in `git.pages`; did you mean `from`?",
        ],
    );
    check_component(
        &format!("git = {{ pages = true }}\n{pages}"),
        &["host.toml:3: `pages`: this is a boolean; expected a table, `git.pages`"],
    );
    check_component(
        "[component.site.git]\npages = 'read'\nother = 'read'\n[git.pages]\nremote = 1",
        &[
            "host.toml:5: there is no binding `other`; define it in a table [git.other], or give it another one: other = { from = \"pages\", mode = \"read\" }",
            "host.toml:7: `remote`: this is an integer; expected a string",
        ],
    );
}

#[test]
fn limits() {
    for (line, message) in [
        ("heads = '1m'", "unknown key `heads` in [limits]; did you mean `head`?"),
        ("body_rate = 1", "unknown key `body_rate` in [limits]; did you mean `body-rate`?"),
        ("idle = 75", "`idle`: `75` has no unit: write \"75s\" (or another of ms, s, m, h)"),
        ("head = '500ms'", "`head`: `500ms` is not between 1s and 24h"),
        ("head-size = '2MiB'", "`head-size`: `2MiB` is not between 1KiB and 1MiB"),
        ("streams = 0", "`streams`: 0 is not between 1 and 10000"),
        ("control-frames = '9'", "`control-frames`: this is a string; expected a whole number"),
        ("connections = -1", "`connections`: -1 is not between 1 and 1048576"),
    ] {
        check_beside(&format!("[limits]\n{line}"), &[&format!("host.toml:2: {message}")]);
    }
}

#[test]
fn the_rest() {
    check_beside(
        "[[certificate]]\nchain = 'chain.pem'\n[[certificate]]\nchain = 'x.pem'\nkey = 'key.pem'",
        &["host.toml:1: [[certificate]] has no `key`: a PEM file", "host.toml:4: `chain`: there is no file `x.pem`"],
    );
    check_beside(
        "[memory]\nanswers = '64'",
        &["host.toml:2: `answers`: `64` has no unit: write \"64MiB\" (or another of KiB, MiB, GiB)"],
    );
    check_beside("[log]\naccess = 'xml'", &["host.toml:2: `access`: `xml` is none of `json`, `combined`, `off`"]);
}

#[test]
fn files_that_are_no_manifest() {
    let fixture = Fixture::new();
    let said =
        |path: PathBuf| fixture.shown(&load(&Options { manifest: Some(path), ..Options::default() }).unwrap_err());
    assert_eq!(said(fixture.at("none.toml")), "none.toml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(said(fixture.at("public")), "public: cannot be read: Is a directory (os error 21)");
    std::fs::write(fixture.at("latin.toml"), b"[log]\n# \xe9\n").unwrap();
    assert_eq!(said(fixture.at("latin.toml")), "latin.toml:2: is not UTF-8");
    std::fs::write(fixture.at("large.toml"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert_eq!(said(fixture.at("large.toml")), "large.toml: is larger than 1 MiB: not a manifest");
    std::fs::write(fixture.at("deep.toml"), format!("a = {}", "[".repeat(100_000))).unwrap();
    assert_eq!(said(fixture.at("deep.toml")), "deep.toml:1: cannot recurse further; max recursion depth met");
}
