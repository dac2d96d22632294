//! The scripts: each a page that can be read, and the vendored interfaces as they were brought.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{guests::root, skip::missing};

const PAGE: usize = 80;

#[test]
fn each_script_is_a_readable_page() {
    let mut scripts: Vec<_> =
        fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.push(root().join(".ci/run"));
    for script in &scripts {
        let name = script.display();
        let text = fs::read_to_string(script).unwrap();
        assert!(text.starts_with("#!/usr/bin/env bash\n# "), "{name}: what it is and does");
        assert!(text.contains("\nset -euo pipefail\n"), "{name}: set -euo pipefail");
        assert!(text.lines().count() <= PAGE, "{name}: more than a page");
        // rustc puts its output in place by a rename: as root it would put a file in place of the device.
        assert!(!text.contains("-o /dev/null"), "{name}: an output that is not wanted goes to a temporary file");
        assert_eq!(script.metadata().unwrap().permissions().mode() & 0o111, 0o111, "{name}: not executable");
    }
    if missing(&["shellcheck"]) {
        return;
    }
    let said = Command::new("shellcheck").args(&scripts).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn the_vendored_interfaces_are_unedited() {
    let said = Command::new(root().join("scripts/vendor-wit")).arg("--check").output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&[said.stdout, said.stderr].concat()));
}

/// Units, who owns what, how it fails: what an item means stands above it.
#[test]
fn every_item_of_the_interfaces_is_documented() {
    let mut items = 0;
    for file in fs::read_dir(root().join("wit")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let mut above = "";
        for line in text.lines().map(str::trim) {
            let silent = ["package ", "//", "}", "use ", "import ", "export ", "include ", "@"];
            if !line.is_empty() && !silent.iter().any(|start| line.starts_with(start)) {
                assert!(above.starts_with("///"), "{}: `{line}` has no word above it", file.display());
                items += 1;
            }
            above = line;
        }
    }
    assert!(items > 80, "{items} items: they are written in another way now");
}

/// The library comes by rustup where that has servers, once; else from Debian's sources, if this is Debian.
#[test]
fn the_library_comes_by_rustup_once_or_else_from_debian() {
    let by_rustup = "setup: wasm32-wasip2 for rustc 1.0.0, by rustup\n";
    let by_hand = "setup: this is not Debian; get the library by: rustup target add wasm32-wasip2\n";
    for (servers, debian, asked, said) in [
        (true, "", true, [by_rustup, ""]),
        (false, "", true, [&*format!("{by_rustup}{by_hand}"), &format!("{by_rustup}{by_hand}")]),
        (true, "debian", false, [by_hand, by_hand]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let program = |name: &str, text: &str| {
            fs::write(at(name), format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let root_of_rust = at("rust").display().to_string();
        program(
            "rustc",
            &format!(
                "case \"$*\" in -vV) echo 'release: 1.0.0' ;; '--print sysroot') echo {root_of_rust} ;; \
                 *) test -e {root_of_rust}/brought ;; esac\n"
            ),
        );
        let library = format!("{root_of_rust}/lib/rustlib/wasm32-wasip2/lib/self-contained");
        let brings = format!("mkdir -p {library}; touch {library}/libc.a {root_of_rust}/brought\n");
        let brings = if servers { &*brings } else { "exit 1\n" };
        program("rustup", &format!("echo \"$*\" >>{root_of_rust}/asked\n{brings}"));
        fs::create_dir(at("rust")).unwrap();
        // All that it needs, and no apt.
        for name in ["bash", "dirname", "mkdir", "mktemp", "rm", "sed", "sh", "touch"] {
            let path = std::env::var_os("PATH").unwrap();
            let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists());
            std::os::unix::fs::symlink(found.expect("it is everywhere"), at(name)).unwrap();
        }
        for words in said {
            let setup =
                Command::new(root().join("scripts/setup")).env("PATH", folder.path()).env("WASM_STD", debian).output();
            let setup = setup.unwrap();
            assert_eq!(String::from_utf8([setup.stdout, setup.stderr].concat()).unwrap(), words);
            assert_eq!(setup.status.success(), !words.ends_with(by_hand));
        }
        let asked =
            if asked { "target add wasm32-wasip2\n".repeat(if servers { 1 } else { 2 }) } else { String::new() };
        assert_eq!(fs::read_to_string(at("rust/asked")).unwrap_or_default(), asked);
    }
}

#[test]
fn every_program_that_a_test_wants_can_be_installed() {
    let script = fs::read_to_string(root().join("scripts/test")).unwrap();
    let known = script.lines().find_map(|line| line.strip_prefix("programs=(")).expect("the list of programs");
    let known: Vec<_> = known.trim_end_matches(')').split(' ').filter_map(|each| each.split(':').next()).collect();
    let mut wanted = 0;
    let folder = root().join("tests");
    for folder in [folder.clone(), folder.join("support")] {
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let text = fs::read_to_string(&file).unwrap();
            for list in text.split("missing(&[\"").skip(1).filter_map(|rest| rest.split("\"]").next()) {
                for program in list.split("\", \"") {
                    assert!(known.contains(&program), "{}: scripts/test can't install {program}", file.display());
                    wanted += 1;
                }
            }
        }
    }
    assert!(wanted > 3, "the tests ask in another way now");
}
