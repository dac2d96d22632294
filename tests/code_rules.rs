//! Rules of the house that the compiler does not keep: read off the sources, each with the line that breaks it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::guests::root;

const LONGEST_FILE: usize = 450;

/// The one file of the host where bindings are generated; a component has them in its `guest.rs`.
const BINDINGS: &str = "host/runtime/src/bindings.rs";

/// What may name them: the interfaces that guests import, and what calls an export.
const CALLERS: &[&str] = &[
    BINDINGS,
    "host/runtime/src/capability/",
    "host/runtime/src/agent.rs",
    "host/runtime/src/ask.rs",
    "host/runtime/src/proof.rs",
    "host/runtime/src/router.rs",
    "host/runtime/src/service.rs",
];

/// The statics that there are: allocators, what a guest's instance keeps between requests, that the sockets which a process
/// was handed were taken, and the engine that all tests of one process share.
const STATICS: &[&str] = &[
    "components/bare/src/memory.rs: static ALLOCATOR: ",
    "components/site/src/guest.rs: static SITE: ",
    "host/net/src/listen.rs: static TAKEN: ",
    "host/src/allocator.rs: static LOOKED: ",
    "host/src/allocator.rs: thread_local! {",
    "host/src/main.rs: static ALLOCATOR: ",
    "host/testkit/src/component.rs: static SHARED: ",
];

/// Where `unsafe` may stand, each time with its reason.
const UNSAFE: &[&str] = &[
    "components/bare/src/memory.rs",
    "components/site/src/guest.rs",
    "host/net/src/listen.rs",
    "host/runtime/src/code.rs",
    "host/runtime/src/compiling.rs",
    "host/src/allocator.rs",
];

/// The one file of the host that starts a program: the host itself.
const STARTS: &str = "host/runtime/src/code.rs";

/// Crates that must not be able to reach these, not even through others.
const APART: &[(&str, &[&str])] = &[
    ("atoll-runtime", &["rustls", "gix", "atoll-net", "atoll-git", "atoll-gateway"]),
    ("atoll-testkit", &["rustls", "gix", "atoll-net", "atoll-git", "atoll-gateway"]),
    ("atoll-gateway", &["gix", "atoll-git"]),
    ("atoll-git", &["wasmtime", "atoll-runtime"]),
    ("atoll-net", &["wasmtime", "atoll-runtime"]),
    ("atoll-paths", &["tokio", "gix", "wasmtime", "atoll-runtime", "atoll-git"]),
    (
        "atoll-send-pack",
        &["tokio", "hyper", "rustls", "russh", "wasmtime", "atoll-net", "atoll-git", "atoll-runtime", "atoll-gateway"],
    ),
    ("atoll-semantics", &["tokio", "hyper", "wasmtime", "atoll-runtime", "atoll-net", "atoll-git", "atoll-gateway"]),
];

/// Packages that could be published, where the others are of this project alone: all that they are made of lies in them, if
/// need be by a link, which is packed as what it leads to.
const PACKAGES: &[&str] = &["host/send-pack/"];

/// All that lies at the top: what a run, or a trial, leaves there is nobody's to commit.
const TOP: &[&str] = &[
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "components",
    "deny.toml",
    "host",
    "rustfmt.toml",
    "scripts",
    "tests",
    "wit",
];

/// What cargo puts to a package's own files.
const ADDED: &[&str] = &[".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml.orig"];

#[test]
fn every_file_keeps_the_rules() {
    let mut broken = Vec::new();
    for file in files(&["host", "components", "tests"])
        .into_iter()
        .filter(|file| Path::new(file).extension() == Some("rs".as_ref()))
    {
        let text = fs::read_to_string(root().join(&file)).expect("sources are text");
        broken.extend(breaks(&file, &text));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn nothing_else_lies_at_the_top() {
    let git = Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(root()).output();
    let listed = String::from_utf8(git.expect("git runs").stdout).expect("git says text");
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, TOP);
}

#[test]
fn a_package_holds_all_that_lies_in_its_folder() {
    for package in PACKAGES {
        let listed = Command::new(env!("CARGO"))
            .args(["package", "--list", "--allow-dirty", "--offline", "--quiet"])
            .current_dir(root().join(package))
            .output()
            .expect("cargo runs");
        let listed = String::from_utf8(listed.stdout).expect("cargo says text");
        let mut listed: Vec<_> = listed.lines().filter(|file| !ADDED.contains(file)).collect();
        let mut held = vec!["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
        let sources = files(&[&format!("{package}src")]);
        held.extend(sources.iter().map(|file| file.strip_prefix(package).expect("below it")));
        held.extend(["src/fuzzing/readable.rs", "src/fuzzing/replay.rs"]);
        listed.sort_unstable();
        held.sort_unstable();
        assert_eq!(listed, held, "{package}");
    }
}

#[test]
fn crates_reach_only_what_they_may() {
    for (package, absent) in APART {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--offline",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--package",
                package,
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs the tests");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).expect("cargo says text");
        let reached: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(reached.contains(package), "{tree}");
        for name in *absent {
            assert!(!reached.contains(name), "{package} reaches {name}: cargo tree -p {package} -i {name}");
        }
    }
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    let mut places = vec![format!("{}/", root().parent().expect("not the root of the system").display())];
    places.extend(env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| format!("{home}/")));
    places.extend(registry_hosts());
    let everything = ["host", "components", "tests", "scripts", ".ci", "wit"];
    let at_the_top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", "deny.toml", "clippy.toml"];
    for file in files(&everything).into_iter().chain(at_the_top.map(str::to_owned)) {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let named = places.iter().find(|place| line.contains(*place));
            assert!(named.is_none(), "{file}:{} names {}", number + 1, named.map_or("", |place| place));
        }
    }
}

/// What breaks a rule in the file of this name, each with its line.
fn breaks(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if text.lines().count() > LONGEST_FILE {
        broken.push(format!("{file}: longer than {LONGEST_FILE} lines"));
    }
    if !text.starts_with("//! ") && !file.ends_with("tests.rs") {
        broken.push(format!("{file}: does not begin with `//!` and what it is for"));
    }
    let mut tested = file.starts_with("tests/")
        || file.contains("/tests/")
        || file.ends_with("tests.rs")
        || file.ends_with("testing.rs");
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        tested |= line.starts_with("#[cfg(test)]");
        if line.starts_with("//") || file == "tests/code_rules.rs" {
            continue;
        }
        let mut unfinished = ["todo!(", "unimplemented!(", "#[ignore", "dbg!("].into_iter();
        // A test may be left to another, which runs it in a process of its own.
        let unfinished = unfinished.find(|word| line.contains(word) && !line.contains("run by "));
        let rule = if let Some(word) = unfinished {
            format!("`{word}`")
        } else if !tested && line.contains(".unwrap()") {
            "`unwrap` outside tests".to_owned()
        } else if !tested && is_static(line) && !is_known(file, line) {
            "a global".to_owned()
        } else if !tested && line.contains("unsafe ") && !UNSAFE.contains(&file) {
            "`unsafe`".to_owned()
        } else if !tested && file.starts_with("host/") && line.contains("Command::new(") && file != STARTS {
            "a program is run".to_owned()
        } else if makes_bindings(line) && !(file == BINDINGS || file.ends_with("/guest.rs") || tested) {
            "bindings are generated elsewhere".to_owned()
        } else if names_a_transport(file, line) {
            "the protocol cannot tell one transport from another".to_owned()
        } else if leaves_its_package(file, line) {
            "a file of another package".to_owned()
        } else if file.starts_with("host/runtime/") && line.contains("bindings::") && !is_caller(file) {
            "generated bindings are not for this room".to_owned()
        } else {
            continue;
        };
        broken.push(format!("{file}:{}: {rule}: {line}", number + 1));
    }
    broken
}

fn is_static(line: &str) -> bool {
    let item = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    item.starts_with("static ") || item.starts_with("thread_local!")
}

fn is_known(file: &str, line: &str) -> bool {
    STATICS.iter().any(|known| format!("{file}: {line}").starts_with(known))
}

/// Whether more folders are gone up than down from the package's to `file`.
fn leaves_its_package(file: &str, line: &str) -> bool {
    let inside = PACKAGES.iter().find_map(|package| file.strip_prefix(package));
    let names_a_file = line.contains("#[path") || line.contains("include");
    inside.is_some_and(|inside| names_a_file && line.matches("../").count() > inside.matches('/').count())
}

/// Whether what speaks the protocol names of the ways to a server more than that one can talk there.
fn names_a_transport(file: &str, line: &str) -> bool {
    let rest = line.replace("transport::Talk", "");
    let words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut named = words.filter(|word| ["transport", "atoll_net", "Ssh", "Http", "Daemon", "Server"].contains(word));
    file.starts_with("host/git/src/smart/") && named.next().is_some()
}

fn makes_bindings(line: &str) -> bool {
    line.contains("bindgen!") || line.contains("wit_bindgen::generate!")
}

fn is_caller(file: &str) -> bool {
    CALLERS.iter().any(|caller| file.starts_with(caller))
}

/// Every file below these folders, by its path from the root; what is built is left out.
fn files(folders: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("a folder of the repository").path();
            // A link's file is looked at where it is.
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.is_file() {
                let inside = path.strip_prefix(root()).expect("below the root");
                files.push(inside.to_str().expect("our paths are text").to_owned());
            }
        }
    }
    files.sort();
    files
}

/// The hosts that this machine gets its packages from, so far as its settings say.
fn registry_hosts() -> Vec<String> {
    let home = env::var("HOME").unwrap_or_default();
    let cargo = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let mut settings = vec![env::var("PIP_INDEX_URL").unwrap_or_default()];
    let lists = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let files = ["/etc/apt/sources.list", "/etc/pip.conf"].map(PathBuf::from).into_iter().chain(lists).chain([
        Path::new(&cargo).join("config.toml"),
        Path::new(&home).join(".config/pip/pip.conf"),
        Path::new(&home).join(".pip/pip.conf"),
    ]);
    settings.extend(files.filter_map(|file| fs::read_to_string(file).ok()));
    let urls = settings.iter().flat_map(|text| text.split("://").skip(1));
    let hosts = urls.map(|rest| rest.split(['/', ':', '"', ' ', '\n']).next().unwrap_or_default().to_owned());
    hosts.filter(|host| host.contains('.') && host != "github.com").collect()
}

#[test]
fn each_rule_sees_what_breaks_it() {
    let long = format!("//! X.\n{}", "//\n".repeat(LONGEST_FILE));
    for (file, text, broken) in [
        ("host/src/a.rs", "//! X.\nfn a() {}\n", ""),
        ("host/src/a.rs", &long, "longer than 450 lines"),
        ("host/src/a.rs", "fn a() {}\n", "does not begin with `//!`"),
        ("host/src/a.rs", "//! X.\nlet a = b.unwrap();\n", "2: `unwrap` outside tests"),
        ("host/src/a.rs", "//! X.\n/// b.unwrap()\n#[cfg(test)]\nb.unwrap();\n", ""),
        ("tests/a.rs", "//! X.\nb.unwrap();\n", ""),
        ("host/src/a.rs", "//! X.\nfn a() {\n    todo!()\n}\n", "3: `todo!(`"),
        ("host/src/a.rs", "//! X.\npub static A: u8 = 1;\n", "2: a global"),
        ("host/src/a.rs", "//! X.\nfn a(b: &'static str) {}\n", ""),
        ("host/src/a.rs", "//! X.\nlet a = unsafe { b() };\n", "2: `unsafe`"),
        ("host/runtime/src/code.rs", "//! X.\nlet a = unsafe { b() };\n", ""),
        ("host/git/src/a.rs", "//! X.\nlet a = Command::new(\"git\");\n", "2: a program is run"),
        ("host/runtime/src/code.rs", "//! X.\nlet a = Command::new(program);\n", ""),
        ("host/src/a.rs", "//! X.\nwasmtime::component::bindgen!({});\n", "2: bindings are generated elsewhere"),
        ("host/runtime/src/bindings.rs", "//! X.\nwasmtime::component::bindgen!({});\n", ""),
        ("components/a/src/guest.rs", "//! X.\nwit_bindgen::generate!({});\n", ""),
        (
            "host/runtime/src/a.rs",
            "//! X.\nuse crate::bindings::Router;\n",
            "2: generated bindings are not for this room",
        ),
        ("host/runtime/src/router.rs", "//! X.\nuse crate::bindings::Router;\n", ""),
        ("host/git/src/smart/a.rs", "//! X.\nuse crate::{Depth, transport::Talk};\n", ""),
        ("host/git/src/smart/a.rs", "//! X.\nuse crate::transport::{Ssh, Talk};\n", "2: the protocol cannot tell"),
        ("host/git/src/smart/a.rs", "//! X.\nfn a(b: &crate::Http) {}\n", "2: the protocol cannot tell"),
        ("host/git/src/fetch.rs", "//! X.\nuse crate::transport::Ssh;\n", ""),
        ("host/send-pack/src/a.rs", "//! X.\n#[path = \"../../a.rs\"]\n", "2: a file of another package"),
        ("host/send-pack/src/a.rs", "//! X.\ninclude!(\"../a.rs\");\n", ""),
    ] {
        let found = breaks(file, text).join("\n");
        assert!(if broken.is_empty() { found.is_empty() } else { found.contains(broken) }, "{text:?}: {found:?}");
    }
}
