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
    assert!(!required(env::var_os("REQUIRE_ALL").as_deref()), "REQUIRE_ALL=1, but {line}");
    if let Some(file) = env::var_os("SKIPPED") {
        let mut file =
            OpenOptions::new().append(true).create(true).open(file).expect("the file SKIPPED is ours to write");
        file.write_all(line.as_bytes()).expect("the file SKIPPED is ours to write");
    }
}

/// Whether a test that is left out is a failure.
fn required(all: Option<&OsStr>) -> bool {
    all.is_some_and(|value| value == "1")
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

#[test]
fn what_is_left_out_is_a_failure_where_all_is_required() {
    for (value, failure) in [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true)] {
        assert_eq!(required(value.map(OsStr::new)), failure, "{value:?}");
    }
}

#[test]
fn what_is_installed_is_found() {
    let path = env::var_os("PATH").expect("a PATH");
    assert!(find("sh", &path).is_some());
    assert_eq!(find("a-program-that-nobody-has", &path), None);
    let shell = ["sh"];
    assert!(!missing(&shell));
}
