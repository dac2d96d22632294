//! What it is measured on, and with which programs: a figure without it says nothing.

use std::{fs, process::Command};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::contenders::cores;

/// Each by its key.
pub(crate) fn named() -> anyhow::Result<Vec<(&'static str, String)>> {
    let processor = line(&fs::read_to_string("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned());
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = line(&system, "PRETTY_NAME=").map_or_else(|| "Linux".to_owned(), |name| name.replace('"', ""));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(vec![
        ("processor", processor),
        ("system", system),
        ("kernel", kernel),
        ("atoll", version(env!("CARGO_BIN_EXE_host"), "--version")?),
        ("nginx", version("nginx", "-v")?),
        ("h2o", version("h2o", "-v")?),
        ("h2load", version("h2load", "--version")?),
        ("git", version("git", "--version")?),
        ("load", fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned()),
    ])
}

pub(crate) fn words(machine: &[(&'static str, String)]) -> String {
    let of = |key| machine.iter().find(|each| each.0 == key).map_or("", |each| each.1.as_str());
    format!(
        "{}, {} cores, {}, Linux {}; {}, {}, {}, {}; load average at the start {}",
        of("processor"),
        cores(),
        of("system"),
        of("kernel"),
        of("nginx"),
        of("h2o"),
        of("h2load"),
        of("git"),
        of("load")
    )
}

/// As many as may be: two thousand connections are ours and the server's.
pub(crate) fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, what needs more says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn line(text: &str, key: &str) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim_start_matches(['\t', ' ', ':']).to_owned())
}

/// The first line that a program says of itself, without what everybody says.
fn version(program: &str, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(argument).output().with_context(|| format!("{program} is not installed"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().replace(" version:", "").replace(" version", ""))
}
