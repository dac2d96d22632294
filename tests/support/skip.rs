//! Tests that want a program which is not on this machine: left out and counted, or a failure.

use std::{
    env,
    ffi::OsStr,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    thread,
};

/// Whether the test that asks must return at once, because one of `programs` is not installed. A line in the file that
/// SKIPPED names counts it; with `REQUIRE_ALL=1` it fails instead. `scripts/test` sets and reads these, and knows the
/// package that brings each program.
pub(crate) fn missing(programs: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let absent: Vec<_> = programs.iter().copied().filter(|program| find(program, &path).is_none()).collect();
    if absent.is_empty() {
        return false;
    }
    left_out(&absent.join(" and "));
    true
}

/// The same of what no package brings.
pub(crate) fn left_out(wanted: &str) {
    let thread = thread::current();
    let line = format!("{} wants {wanted}\n", thread.name().unwrap_or("a test"));
    assert!(env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "REQUIRE_ALL=1, but {line}");
    if let Some(file) = env::var_os("SKIPPED") {
        let mut file =
            OpenOptions::new().append(true).create(true).open(file).expect("the file SKIPPED is ours to write");
        file.write_all(line.as_bytes()).expect("the file SKIPPED is ours to write");
    }
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

#[test]
fn what_is_installed_is_found() {
    let path = env::var_os("PATH").expect("a PATH");
    assert!(find("sh", &path).is_some());
    assert_eq!(find("a-program-that-nobody-has", &path), None);
    let shell = ["sh"];
    assert!(!missing(&shell));
}
