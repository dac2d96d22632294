//! Manifests as an operator writes them, and what they come to.

mod mistakes;
mod stated;

use std::{path::PathBuf, time::Duration};

use atoll_git::Depth;
use http::uri::PathAndQuery;
use tempfile::TempDir;

use super::*;
use crate::problem::Place;

/// A directory with the files that the manifests here name.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for file in ["site.wasm", "router.wasm", "blog.wasm", "ca.pem", "chain.pem", "key.pem", "token", "id_ed25519"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        std::fs::create_dir(directory.path().join("public")).unwrap();
        Self(directory)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn load(&self, manifest: &str, options: Options) -> Result<Loaded, Problems> {
        std::fs::write(self.at("host.toml"), manifest).unwrap();
        load(&Options { manifest: Some(self.at("host.toml")), ..options })
    }

    fn manifest(&self, manifest: &str) -> Manifest {
        self.load(manifest, Options::default()).unwrap_or_else(|problems| panic!("{problems}")).manifest
    }

    /// As it is printed, without the directory.
    fn shown(&self, printed: &impl ToString) -> String {
        printed.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// The one component that a manifest must have, for those that are about something else.
const SITE: &str = "[component.site]\npath = 'site.wasm'\n";

/// The manifest of the documentation, less what is not built.
const WHOLE: &str = r#"
[listen]
http  = "127.0.0.1:8080"
https = ["0.0.0.0:8443", "[::]:8443"]
trusted = ["10.0.0.0/8"]
proxied = "[::]:8443"
redirect = false

[git.pages]
remote = "public/"
branch = "gh-pages"
poll   = "90s"
depth  = 20

[git.routes]
remote = "/srv/routes.git"
depth  = "all"

[upstream.app]
url = ["http://10.0.0.3:80", "https://app.test"]
protocol = "h2c"
raw-path = true
ca = "ca.pem"

[component.site]
path    = "site.wasm"
git     = { pages = "read", other = { from = "routes", mode = "write" } }
http    = ["https://api.example.org"]
env     = { THEME = "dark" }
probe   = "/healthz?deep=1"
memory  = "128MiB"
timeout = "2s"
concurrency = 2
instances = 4
idle = "90s"
drain = "1m"

[[certificate]]
chain = "chain.pem"
key   = "key.pem"

[memory]
answers = "1GiB"

[log]
access = "combined"

[limits]
handshake = "5s"
head = "6s"
idle = "2m"
body-rate = 0
body-window = "30s"
head-size = "64KiB"
fields = 200
streams = 32
resets = 50
control-frames = 60
address-connections = 70
connections = 80

[component.router]
path = "router.wasm"
git = { routes = "read" }
"#;

#[test]
fn a_whole_manifest() {
    let fixture = Fixture::new();
    let manifest = fixture.manifest(WHOLE);
    let address = |text: &str| Address { at: text.parse().unwrap(), optional: false };
    assert_eq!(
        manifest.listen,
        Listen {
            place: Place { file: Some(fixture.at("host.toml").to_string_lossy().into()), line: Some(2) },
            http: vec![address("127.0.0.1:8080")],
            https: vec![address("0.0.0.0:8443"), address("[::]:8443")],
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            proxied: vec!["[::]:8443".parse().unwrap()],
            redirect: Some(false),
        }
    );
    let pages = &manifest.bindings["pages"];
    assert_eq!(pages.local(), Some(&fixture.at("public/")));
    assert_eq!((pages.branch.as_deref(), pages.poll, pages.ours), (Some("gh-pages"), Duration::from_secs(90), false));
    assert_eq!((pages.place.line, pages.depth), (Some(9), Depth::new(20).unwrap()));
    let routes = &manifest.bindings["routes"];
    assert_eq!((routes.branch.as_deref(), routes.poll, routes.depth), (None, Duration::from_mins(1), Depth::ALL));

    let app = &manifest.upstreams["app"];
    assert_eq!(app.urls.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://10.0.0.3", "https://app.test"]);
    assert_eq!((app.protocol, app.raw_path, app.ca.as_ref()), (Protocol::H2c, true, Some(&fixture.at("ca.pem"))));

    let site = &manifest.components["site"];
    assert_eq!(site.path, fixture.at("site.wasm"));
    let name = |text| Name::parse(text).unwrap();
    let grants = [
        (name("other"), Grant { from: name("routes"), mode: Mode::Write }),
        (name("pages"), Grant { from: name("pages"), mode: Mode::Read }),
    ];
    assert_eq!(site.git, grants.into());
    assert_eq!(site.http, [Origin::parse("https://api.example.org").unwrap()].into());
    assert_eq!(site.env, [("THEME".to_owned(), "dark".to_owned())].into());
    assert_eq!(site.probe.as_ref().map(PathAndQuery::as_str), Some("/healthz?deep=1"));
    let limits = Limits {
        memory: 128 << 20,
        timeout: Some(Duration::from_secs(2)),
        concurrency: 2,
        instances: 4,
        idle: Duration::from_secs(90),
        drain: Duration::from_mins(1),
    };
    assert_eq!(site.limits, limits);
    let Component { limits, .. } = manifest.components["router"];
    assert_eq!(limits, Limits::default());
    assert_eq!((limits.request(), limits.tick()), (Duration::from_secs(5), Duration::from_mins(10)));

    assert_eq!(manifest.certificates[0].chain, fixture.at("chain.pem"));
    assert_eq!((manifest.answers, manifest.access), (1 << 30, AccessLog::Combined));
    let limits = atoll_gateway::http::Limits {
        handshake: Duration::from_secs(5),
        head: Duration::from_secs(6),
        idle: Duration::from_mins(2),
        body_rate: 0,
        body_window: Duration::from_secs(30),
        head_size: 64 << 10,
        fields: 200,
        streams: 32,
        resets: 50,
        control_frames: 60,
        address_connections: 70,
        connections: 80,
    };
    assert_eq!(manifest.limits, limits);
}

#[test]
fn a_manifest_without_listeners_has_the_built_in_ones() {
    let fixture = Fixture::new();
    let silent = fixture.manifest(SITE).listen;
    assert_eq!(silent, Listen { place: silent.place.clone(), ..Listen::default() });
    let served = fixture.manifest(&format!("[listen]\nredirect = false\n{SITE}")).listen;
    assert_eq!(served, Listen { place: served.place.clone(), redirect: Some(false), ..Listen::default() });
    let plain = fixture.manifest(&format!("[listen]\nhttp = '127.0.0.1:0'\n{SITE}")).listen;
    assert_eq!((plain.http.len(), plain.https.len()), (1, 0));
}

#[test]
fn arguments_go_before_the_manifest() {
    let fixture = Fixture::new();
    let options = || Options {
        components: vec![fixture.at("site.wasm")],
        http: vec![Address::parse("127.0.0.1:1").unwrap()],
        bind: vec![Bind::parse(&format!("pages={}", fixture.at("elsewhere").display())).unwrap()],
        ..Options::default()
    };
    let manifest = "[git.pages]\nremote = 'public'\n[component.site]\npath = 'gone.wasm'\ngit = { pages = 'read' }";
    let loaded = fixture.load(manifest, options()).unwrap();
    assert_eq!(loaded.manifest.components["site"].path, fixture.at("site.wasm"));
    assert_eq!(loaded.manifest.bindings["pages"].local(), Some(&fixture.at("elsewhere")));
    assert_eq!(loaded.manifest.listen.http, [Address::parse("127.0.0.1:1").unwrap()]);
    assert_eq!(loaded.manifest.listen.https, Listen::default().https);
    assert_eq!(loaded.warnings, []);

    let bind = |remote: &str| Bind::parse(&format!("pages={remote}")).unwrap();
    let options = Options { bind: vec![bind("a"), bind("b")], ..options() };
    assert_eq!(fixture.shown(&fixture.load(manifest, options).unwrap_err()), "--bind names pages twice");
    let address = |text: &str| vec![Address::parse(text).unwrap()];
    for (http, https, words) in [
        (
            address("[::1]:1"),
            address("[::1]:1"),
            Some("has [::1]:1 for both `http` and `https`: one address, one protocol"),
        ),
        ([address("[::1]:1"), address("[::1]:1")].concat(), Vec::new(), Some("has [::1]:1 twice")),
        ([address("[fe80::1%1]:80"), address("[fe80::1%2]:80")].concat(), address("[::1]:80"), None),
    ] {
        let loaded = fixture.load(SITE, Options { http, https, ..Options::default() });
        let words = words.map(|words| format!("[listen] with these arguments {words}"));
        assert_eq!(loaded.err().map(|problems| fixture.shown(&problems)), words);
    }

    // A file that is not there hides nothing of the manifest's.
    let options = Options { components: vec![fixture.at("gone.wasm")], ..Options::default() };
    let problems = fixture.load("[component.gone]\nmemory = 1\n", options).unwrap_err();
    assert_eq!(
        fixture.shown(&problems),
        "there is no file `gone.wasm`\n\
         host.toml:2: `memory`: `1` has no unit: write \"1MiB\" (or another of KiB, MiB, GiB)"
    );
}

#[test]
fn how_long_an_upstream_may_take() {
    let fixture = Fixture::new();
    for (lines, connect, response) in [("", 5, 60), ("connect = '2s'\nresponse = '10m'", 2, 600)] {
        let manifest = fixture.manifest(&format!("[upstream.app]\nurl = 'http://a.test'\n{lines}\n{SITE}"));
        let app = &manifest.upstreams["app"];
        assert_eq!((app.connect, app.response), (Duration::from_secs(connect), Duration::from_secs(response)));
    }
}

#[test]
fn a_binding_that_nobody_reads_is_said() {
    let fixture = Fixture::new();
    let bind = |text: &str| Bind::parse(text).unwrap();
    let said = |components: &[&str], bind: &Bind| {
        let components = components.iter().map(|file| fixture.at(file)).collect();
        let options = Options { components, bind: vec![bind.clone()], ..Options::default() };
        load(&options).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(said(&["site.wasm"], &bind("pages=x")), none);
    assert_eq!(said(&["site.wasm"], &bind("page=x")), ["--bind page: nobody reads it; site reads `pages`"]);
    assert_eq!(said(&["site.wasm", "blog.wasm"], &bind("page=x")), none, "blog may read anything");
}

#[test]
fn what_is_left_out_is_said() {
    let fixture = Fixture::new();
    let options = Options { components: vec![fixture.at("site.wasm"), fixture.at("blog.wasm")], ..Options::default() };
    let loaded = fixture.load(&format!("[git.pages]\nremote = 'public'\n{SITE}"), options.clone()).unwrap();
    assert_eq!(loaded.manifest.components.len(), 1);
    assert_eq!(
        loaded.warnings.iter().map(|warning| fixture.shown(warning)).collect::<Vec<_>>(),
        [
            "host.toml: component `blog` has no table and is left out; to run it add this, and the grants that `host inspect blog.wasm` shows\n\
             [component.blog]\npath = \"blog.wasm\"",
            "host.toml:1: binding `pages` is granted to no component",
        ]
    );
    let warnings = |listen: &str| {
        let manifest = format!(
            "{listen}\n[git.pages]\nremote = 'public'\n[component.site]\npath = 'site.wasm'\ngit = {{ pages = 'read' }}\n"
        );
        let loaded = fixture.load(&manifest, Options::default()).unwrap();
        loaded.warnings.iter().map(|warning| fixture.shown(warning)).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(warnings("[listen]\nhttps = '127.0.0.1:8443'"), none);
    assert_eq!(
        warnings("[listen]\nhttps = ['127.0.0.1:8443', '0.0.0.0:443']"),
        ["host.toml:1: 0.0.0.0:443 has no certificate to show: add a [[certificate]], or every client is refused"]
    );
    let problems = fixture.load("", options).unwrap_err();
    assert_eq!(
        fixture.shown(&problems),
        "host.toml: has no component; to run `blog` add\n[component.blog]\npath = \"blog.wasm\""
    );
}

#[test]
fn the_built_in_manifest() {
    let fixture = Fixture::new();
    let options = Options {
        state: "/state".into(),
        components: ["site.wasm", "router.wasm", "blog.wasm"].map(|file| fixture.at(file)).into(),
        ..Options::default()
    };
    let manifest = load(&options).unwrap().manifest;
    let granted = |manifest: &Manifest| {
        let names = |component: &Component| component.git.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        manifest
            .components
            .values()
            .map(|component| format!("{}: {}", component.name, names(component)))
            .collect::<Vec<_>>()
    };
    assert_eq!(granted(&manifest), ["blog: ", "router: routes", "site: pages"]);
    let bindings = manifest.bindings.values();
    let bindings = bindings.map(|b| (&*b.name, b.local().unwrap().to_str().unwrap(), b.branch.as_deref(), b.ours));
    assert_eq!(
        bindings.collect::<Vec<_>>(),
        [
            ("pages", "/state/remotes/pages.git", Some("main"), true),
            ("routes", "/state/remotes/routes.git", Some("main"), true),
        ]
    );
    let addresses = |addresses: &[Address]| {
        addresses.iter().map(|address| format!("{} {}", address.at, address.optional)).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&manifest.listen.http), ["127.0.0.1:8080 false", "[::1]:8080 true"]);
    assert_eq!(addresses(&manifest.listen.https), ["127.0.0.1:8443 false", "[::1]:8443 true"]);
    assert!(manifest.listen.redirects());

    let bind = |name: &str| Bind::parse(&format!("{name}={}", fixture.at("public").display())).unwrap();
    let manifest = load(&Options { bind: vec![bind("pages"), bind("notes")], ..options }).unwrap().manifest;
    assert_eq!(granted(&manifest), ["blog: notes pages", "router: routes", "site: pages"]);
    assert_eq!(manifest.bindings["pages"].local(), Some(&fixture.at("public")));
    assert!(!manifest.bindings["pages"].ours);
}

#[test]
fn a_tables_hash_stands_while_the_table_does() {
    let fixture = Fixture::new();
    let hash = |table: &str, bindings: &str| {
        fixture.manifest(&format!("{bindings}\n[component.site]\n{table}")).components["site"].hash
    };
    let bindings = "[git.pages]\nremote = '/srv/pages.git'\n[git.routes]\nremote = '/srv/routes.git'";
    let table = "path = 'site.wasm'\ngit = { pages = 'read' }\nenv = { A = '1', B = '2' }";
    let first = hash(table, bindings);
    // Kept in state directories: a change of the form gets a new first word.
    assert_eq!(first.to_string(), "263fe471bcb691e4ebbf9df3d56628a114fc4511127b228a7b3be8c29289e86c");

    for same in [
        "env = { B = '2', A = '1' } # a comment\n\ngit.pages = 'read'\npath = 'site.wasm'",
        "path = 'router.wasm'\ngit = { pages = 'read' }\nenv = { A = '1', B = '2' }",
        "path = 'site.wasm'\ngit = { pages = { mode = 'read' } }\nenv = { A = '1', B = '2' }\nmemory = '65536KiB'\ndrain = '300s'",
    ] {
        assert_eq!(hash(same, bindings), first, "{same}");
    }
    assert_eq!(hash(table, &bindings.replace("routes.git", "other.git")), first, "a binding that it does not name");
    for other in [
        table.replace("read", "write"),
        table.replace("'1'", "'3'"),
        table.replace("A =", "C ="),
        table.replace("pages =", "a =").replace("'read'", "{ from = 'pages', mode = 'read' }"),
        table.replace("{ pages = 'read' }", "{ pages = { from = 'routes', mode = 'read' } }"),
        format!("{table}\nhttp = 'https://a.test'"),
        format!("{table}\nprobe = '/'"),
        format!("{table}\nmemory = '1MiB'"),
        format!("{table}\ntimeout = '5s'"),
        format!("{table}\nconcurrency = 2"),
        format!("{table}\ninstances = 2"),
        format!("{table}\ndrain = '1s'"),
    ] {
        assert_ne!(hash(&other, bindings), first, "{other}");
    }
    assert_ne!(hash(table, &bindings.replace("pages.git", "other.git")), first);
    assert_ne!(hash(table, &bindings.replace("pages.git'", "pages.git'\nbranch = 'x'")), first);
    assert_eq!(hash(table, &bindings.replace("pages.git'", "pages.git'\ndepth = 2")), first, "nobody sees the history");
}

#[test]
fn nobody_is_sent_where_nobody_listens() {
    let (http, https) = ("http = \"127.0.0.1:1\"\n", "https = \"127.0.0.1:2\"\n");
    for (lines, redirect) in [
        (String::new(), true),
        (http.to_owned(), false),
        (https.to_owned(), true),
        ([http, https].concat(), true),
        ([http, "redirect = true\n"].concat(), true),
        ([http, https, "redirect = false\n"].concat(), false),
    ] {
        assert_eq!(
            Fixture::new().manifest(&format!("[listen]\n{lines}{SITE}")).listen.redirects(),
            redirect,
            "{lines}"
        );
    }
}
