//! `host wit`: the interfaces, written out for an author.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

/// Write the interfaces that a component's author needs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Wit {
    /// The folder to write them to
    #[arg(value_name = "DIR", default_value = "wit")]
    directory: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  host wit                  into wit/
  host wit interfaces && wasm-tools component wit interfaces

A file that is there and differs is never written over: then nothing is written.";

macro_rules! files {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../../wit/", $path)))),*] };
}

/// All of `wit/`, as this program was built with it.
const FILES: &[(&str, &str)] = files![
    "agent.wit"
    "publication.wit"
    "repository.wit"
    "routing.wit"
    "validation.wit"
    "worlds.wit"
    "deps/cli.wit"
    "deps/clocks.wit"
    "deps/filesystem.wit"
    "deps/http.wit"
    "deps/random.wit"
    "deps/sockets.wit"
];

impl Wit {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        write_files(&self.directory)?;
        writeln!(output, "{} files in {}", FILES.len(), self.directory.display())?;
        Ok(())
    }
}

fn write_files(directory: &Path) -> anyhow::Result<()> {
    for (path, text) in FILES {
        let path = directory.join(path);
        match fs::read(&path) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => bail!("{} is there and differs: move it away first; nothing was written", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }
    for (path, text) in FILES {
        let path = directory.join(path);
        let folder = path.parent().expect("it was joined to a folder");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_wit_is_here() {
        let wit = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"));
        let mut found = Vec::new();
        for folder in ["", "deps"] {
            for entry in fs::read_dir(wit.join(folder)).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    found.push(Path::new(folder).join(entry.file_name()).to_str().unwrap().to_owned());
                }
            }
        }
        let mut embedded = FILES.iter().map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>();
        found.sort();
        embedded.sort();
        assert_eq!(embedded, found);
    }

    #[test]
    fn written_once_and_never_over_others() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a/wit");
        let wit = || Wit { directory: target.clone() };
        let mut output = Vec::new();
        wit().execute(&mut output).unwrap();
        wit().execute(&mut output).unwrap();
        let line = format!("{} files in {}\n", FILES.len(), target.display());
        assert_eq!(String::from_utf8(output).unwrap(), line.repeat(2));
        for (path, text) in FILES {
            assert_eq!(fs::read_to_string(target.join(path)).unwrap(), *text);
        }

        fs::write(target.join("worlds.wit"), "mine").unwrap();
        fs::remove_file(target.join("agent.wit")).unwrap();
        assert_eq!(
            wit().execute(&mut Vec::new()).unwrap_err().to_string(),
            format!("{}/worlds.wit is there and differs: move it away first; nothing was written", target.display())
        );
        assert!(!target.join("agent.wit").exists());
    }
}
