//! The manifest: `host.toml`, parsed into types that cannot be wrong, or a list of all that is wrong in it, by file and
//! line. It is the whole of an operator's authority: what a component may reach is in here or is nowhere.
//!
//! A table is declared once, in the file that is named for it, by the keys that its reader asks for; a key that nobody
//! asks for is a mistake. It opens no repository, no component and no certificate: whether what a file holds is any good
//! is for its user to say.

mod arguments;
mod binding;
mod builtin;
mod component;
mod document;
mod hash;
mod limits;
mod listen;
mod name;
mod origin;
mod reader;
mod remote;
mod source;
#[cfg(test)]
mod tests;
mod units;
mod upstream;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use arguments::{Bind, Options};
pub use binding::Binding;
pub use component::{Component, Grant, Limits, Mode};
pub use hash::TableHash;
pub(crate) use listen::overlap;
pub use listen::{Address, Listen};
pub use name::Name;
pub use origin::{Origin, Scheme};
pub use remote::{HostKey, Remote};
pub use upstream::{Protocol, Upstream};

use self::source::Source;
use crate::problem::{Place, Problem, Problems};

/// What `run` and `check` take where no manifest is named.
pub const FILE: &str = "host.toml";

/// Remembered answers, all components; in bytes.
const ANSWERS: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub struct Manifest {
    pub listen: Listen,
    pub bindings: BTreeMap<Name, Binding>,
    /// None has the name of a component.
    pub upstreams: BTreeMap<Name, Upstream>,
    /// Their grants name bindings that are here.
    pub components: BTreeMap<Name, Component>,
    pub certificates: Vec<Pair>,
    /// For remembered answers, all components; in bytes.
    pub answers: u64,
    pub access: AccessLog,
    /// What one client may take.
    pub limits: atoll_gateway::http::Limits,
}

/// A certificate of one's own, as PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The end entity's certificate first.
    pub chain: PathBuf,
    pub key: PathBuf,
    pub place: Place,
}

/// One line a request on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Json,
    Combined,
    Off,
}

/// A manifest that may be used, and what should be said about it.
#[derive(Debug)]
pub struct Loaded {
    pub manifest: Manifest,
    /// Each may have several lines.
    pub warnings: Vec<Problem>,
}

/// Mistakes that anybody reads.
const ENOUGH: usize = 100;

/// The manifest that these options make; nothing is started or written.
///
/// # Errors
/// All that is wrong, in the order of the file.
pub fn load(options: &Options) -> Result<Loaded, Problems> {
    let (files, mut problems) = arguments::components(&options.components);
    let mut binds = Vec::new();
    for bind in &options.bind {
        match bind.binding() {
            Ok(binding) if binds.iter().any(|other: &Binding| other.name == binding.name) => {
                problems.push(Problem::new(format!("--bind names {} twice", binding.name)));
            }
            Ok(binding) => binds.push(binding),
            Err(problem) => problems.push(problem),
        }
    }
    let mut loaded = match &options.manifest {
        Some(path) => load_file(path, &files, binds, problems)?,
        None if problems.is_empty() => {
            let manifest = builtin::manifest(&options.state, &files, binds.clone());
            let warnings = builtin::warnings(&manifest, &binds);
            Loaded { manifest, warnings }
        }
        None => return Err(Problems(problems)),
    };
    let listen = &mut loaded.manifest.listen;
    for (given, listeners) in [(&options.http, &mut listen.http), (&options.https, &mut listen.https)] {
        if !given.is_empty() {
            listeners.clone_from(given);
            listen.place = Place::default();
        }
    }
    // What the manifest says alone was looked at already.
    if let Some(words) = listen.clash() {
        return Err(Problems(vec![Problem::new(format!("[listen] with these arguments {words}"))]));
    }
    Ok(loaded)
}

impl Manifest {
    /// Listeners, and nothing behind them.
    fn new(listen: Listen) -> Self {
        Self {
            listen,
            bindings: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            components: BTreeMap::new(),
            certificates: Vec::new(),
            answers: ANSWERS,
            access: AccessLog::default(),
            limits: atoll_gateway::http::Limits::default(),
        }
    }
}

/// `problems` of the arguments do not hide what is wrong in the file.
fn load_file(
    path: &Path,
    files: &BTreeMap<Name, PathBuf>,
    binds: Vec<Binding>,
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(problem) => {
            problems.push(problem);
            return Err(Problems(problems));
        }
    };
    let manifest = document::read(&source, files, binds);
    let of_all = manifest.iter().flat_map(|manifest| document::warnings(&source, manifest, files)).collect::<Vec<_>>();
    let (found, warnings) = source.into_problems();
    problems.extend(found);
    if problems.len() > ENOUGH {
        let more = problems.split_off(ENOUGH).len();
        problems.push(Problem::new(format!("and {more} more")));
    }
    let warnings = [warnings, of_all].concat();
    match manifest {
        Some(manifest) if problems.is_empty() => Ok(Loaded { manifest, warnings }),
        _ => Err(Problems(problems)),
    }
}
