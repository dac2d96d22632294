//! A repository on this machine: where its parts lie, and what its branch stands at. Read as it is: no hook, no filter, no
//! include of its configuration, no alternate; what only a configured `git` could read is refused by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use gix::{
    ObjectId,
    bstr::{BString, ByteSlice},
    config, discover,
    refs::{FullName, Target, file},
};

use super::{NoBranch, begun::is_begun, directory::is_new_for};
use crate::{
    objects::{Objects, too_many},
    refs,
    watch::Interest,
};

/// The largest file that says in which directory something lies: as much is read of one.
const MAX_PLACE: u64 = 64 * 1024;

/// Names from a branch to what it is called otherwise. Git follows as many.
const MAX_SYMBOLIC: usize = 5;

/// The largest configuration, ref, and list of packed refs that is read, in bytes: 10,000 refs take one MiB.
const MAX_CONFIGURATION: u64 = 1024 * 1024;
const MAX_REF: u64 = 4096;
const MAX_PACKED_REFS: u64 = 64 * 1024 * 1024;

/// Branches that are named where the right one is not there.
const MAX_KNOWN: usize = 10;

/// Why a local remote cannot be read. The words say what to do.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{0}: there is nothing here; create it, or name another remote")]
    Nothing(PathBuf),
    #[error("{0} is a file; a remote is a repository or a directory")]
    File(PathBuf),
    #[error("{path} looks like a git repository, but has no {what}; restore it, or clone it anew")]
    Broken { path: PathBuf, what: &'static str },
    #[error("{path} is no file, or one of more than {limit} bytes")]
    Strange { path: PathBuf, limit: u64 },
    #[error("{path} cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{0} is a SHA-256 repository, which cannot be read here; make it one of SHA-1 (git init --object-format=sha1)"
    )]
    Sha256(PathBuf),
    #[error(
        "{0} keeps its refs in a reftable, which cannot be read here; run git refs migrate --ref-format=files in it"
    )]
    Reftable(PathBuf),
    #[error("{path}: its configuration asks for {key} = {value}, which is not known here")]
    Extension { path: PathBuf, key: &'static str, value: BString },
    #[error(
        "{0} borrows objects from another repository (objects/info/alternates); run git repack -ad in it and remove that file"
    )]
    Alternates(PathBuf),
    #[error("{path}: {name:?} cannot be a branch's name")]
    Name { path: PathBuf, name: String },
    #[error("{0}: its HEAD is of no branch; name one: branch = \"NAME\"")]
    Headless(PathBuf),
    #[error("{path}: {branch}")]
    Branch { path: PathBuf, branch: NoBranch },
    #[error("{path} has no branch yet, and is no new repository: what is being cloned or copied there is waited for")]
    Unfinished { path: PathBuf, cloned: bool },
    #[error("{path} is a plain folder, and has no branch {name}: leave the branch out")]
    Folder { path: PathBuf, name: String },
    #[error("{path}: the ref {name} cannot be read: {why}")]
    Ref { path: PathBuf, name: String, why: String },
}

/// What a path turned out to be.
pub(crate) enum Local {
    Repository(LocalRepository),
    Directory(PathBuf),
}

pub(crate) struct LocalRepository {
    /// As it was named.
    path: PathBuf,
    git_dir: PathBuf,
    /// The repository that a linked work tree belongs to; else `git_dir`.
    common_dir: PathBuf,
}

/// What a branch stands at.
pub(crate) enum Tip {
    At(ObjectId),
    /// There is no branch at all yet.
    Unborn,
}

impl Local {
    /// What is at `path`; where there is nothing, the repository at `path.git`, as git has it. A folder is meant by its own
    /// name alone.
    pub(crate) fn find(path: &Path) -> Result<Self, LocalError> {
        let nothing = match Self::at(path) {
            Err(nothing @ LocalError::Nothing(_)) => nothing,
            found => return found,
        };
        match Self::at(&suffixed(path)) {
            Ok(Self::Directory(_)) | Err(LocalError::Nothing(_) | LocalError::File(_)) => Err(nothing),
            found => found,
        }
    }

    fn at(path: &Path) -> Result<Self, LocalError> {
        let unreadable = |source| LocalError::Unreadable { path: path.to_owned(), source };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LocalError::Nothing(path.to_owned())),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if !metadata.is_dir() => return Err(LocalError::File(path.to_owned())),
            Ok(_) => {}
        }
        let dot_git = path.join(".git");
        let git_dir = match fs::metadata(&dot_git) {
            Ok(metadata) if metadata.is_dir() => dot_git,
            Ok(_) => {
                plain(&dot_git, MAX_PLACE)?;
                discover::path::from_gitdir_file(&dot_git).map_err(|_| LocalError::Broken {
                    path: path.to_owned(),
                    what: "directory that its .git file names",
                })?
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(error)),
            Err(_) => {
                // Two of a bare repository's three parts are a damaged one: its insides are not a site.
                let parts = ["HEAD", "objects", "refs"];
                return match parts.iter().filter(|part| path.join(part).exists()).count() {
                    3 => LocalRepository::open(path, path.to_owned()).map(Self::Repository),
                    2 => Err(LocalError::Broken { path: path.to_owned(), what: missing(path, &parts) }),
                    _ if is_begun(path) => Err(LocalError::Unfinished { path: path.to_owned(), cloned: true }),
                    _ => Ok(Self::Directory(path.to_owned())),
                };
            }
        };
        LocalRepository::open(path, git_dir).map(Self::Repository)
    }

    /// The same once a directory that is not `known` to be one has stood for a moment: what becomes a repository is no files
    /// to be served. Blocks for as long.
    pub(crate) fn settled(path: &Path, known: bool, now: SystemTime) -> Result<Self, LocalError> {
        let found = Self::find(path)?;
        match is_new_for(path, now) {
            Some(rest) if !known && matches!(found, Self::Directory(_)) => {
                std::thread::sleep(rest);
                Self::find(path)
            }
            _ => Ok(found),
        }
    }

    /// What to watch to learn that `branch` moved of what is at `path` or will be, and the places that another may be put into.
    pub(crate) fn points(path: &Path, branch: Option<&str>) -> Vec<(PathBuf, Interest)> {
        let places = [path.to_owned(), suffixed(path)];
        let entry =
            |place: &PathBuf| Some((place.parent()?.to_owned(), Interest::Entry(place.file_name()?.to_owned())));
        let entries: Vec<_> = places.iter().filter_map(entry).collect();
        // What is neither yet may be on its way: a repository is made file by file.
        let inside = Self::find(path)
            .map_or_else(|_| places.map(|place| (place, Interest::Files)).into(), |local| local.watched(branch));
        inside.into_iter().chain(entries).collect()
    }

    fn watched(&self, branch: Option<&str>) -> Vec<(PathBuf, Interest)> {
        match self {
            Self::Directory(path) => vec![(path.clone(), Interest::Files)],
            Self::Repository(LocalRepository { git_dir, common_dir, .. }) => {
                // HEAD lies in the one, packed-refs in the other.
                let refs = if branch.is_some_and(|name| name.starts_with("refs/")) { "refs" } else { "refs/heads" };
                let mut watched = vec![(common_dir.clone(), Interest::Names), (common_dir.join(refs), Interest::Refs)];
                if git_dir != common_dir {
                    watched.push((git_dir.clone(), Interest::Names));
                }
                watched
            }
        }
    }
}

/// Where git looks, too.
fn suffixed(path: &Path) -> PathBuf {
    path.with_added_extension("git")
}

impl LocalRepository {
    pub(crate) fn has_work_tree(&self) -> bool {
        self.git_dir != self.path
    }

    fn open(path: &Path, git_dir: PathBuf) -> Result<Self, LocalError> {
        let broken = |what| LocalError::Broken { path: path.to_owned(), what };
        let said = git_dir.join("commondir");
        plain(&said, MAX_PLACE)?;
        let common_dir = match discover::path::from_plain_file(&said) {
            None => git_dir.clone(),
            Some(common_dir) => {
                git_dir.join(common_dir.map_err(|_| broken("repository that its work tree belongs to"))?)
            }
        };
        if !git_dir.join("HEAD").is_file() {
            return Err(broken("HEAD"));
        }
        if !common_dir.join("objects").is_dir() {
            return Err(broken("objects"));
        }
        let repository = Self { path: path.to_owned(), git_dir, common_dir };
        repository.check_configuration()?;
        repository.check_alternates()?;
        Ok(repository)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of a ref lies: some are a work tree's own.
    pub(super) fn file_of(&self, name: &FullName) -> PathBuf {
        let own = name.category().is_some_and(|category| category.is_worktree_private());
        let base = if own { &self.git_dir } else { &self.common_dir };
        base.join(name.as_bstr().to_string())
    }

    pub(super) fn objects_directory(&self) -> PathBuf {
        self.common_dir.join("objects")
    }

    pub(crate) fn objects(&self) -> Result<Objects, LocalError> {
        Objects::open_remote(self.objects_directory())
            .map_err(|source| LocalError::Unreadable { path: self.path.clone(), source })
    }

    /// What to do for it where nobody has tidied it for long.
    pub(crate) fn untidy(&self) -> Option<String> {
        let (packs, loose) = too_many(&self.objects_directory())?;
        let path = self.path.display();
        Some(format!("{path} has {packs} packs and about {loose} files of objects; run git gc in it now and then"))
    }

    /// What `branch` stands at, or HEAD where none is named.
    pub(crate) fn tip(&self, branch: Option<&str>) -> Result<Tip, LocalError> {
        let (name, at) = self.resolve(branch)?;
        if let Some(id) = at {
            return Ok(Tip::At(id));
        }
        let known = known_branches(&self.refs()).map_err(|error| self.unreadable(&name, error.to_string()))?;
        if known.is_empty() {
            return Ok(Tip::Unborn);
        }
        let branch = NoBranch { by_head: branch.is_none(), name: Some(name.shorten().to_string()), known };
        Err(LocalError::Branch { path: self.path.clone(), branch })
    }

    /// Fails where it has no branch because it is about to have one: a clone has where it comes from before it has anything,
    /// and what is copied has objects.
    pub(crate) fn is_finished(&self) -> Result<(), LocalError> {
        let cloned = self.configuration()?.is_some_and(|file| {
            file.sections_by_name("remote")
                .is_some_and(|mut remotes| remotes.any(|remote| remote.value("url").is_some()))
        });
        let objects = self.objects_directory();
        let holds = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        let others =
            fs::read_dir(&objects).map_err(|source| LocalError::Unreadable { path: objects.clone(), source })?;
        let others = others.flatten().any(|entry| entry.file_name() != "info" && entry.file_name() != "pack");
        let copied = others || holds(&objects.join("pack"));
        if cloned || copied { Err(LocalError::Unfinished { path: self.path.clone(), cloned }) } else { Ok(()) }
    }

    /// The ref that `branch` is in the end, or HEAD where none is named; and what it stands at, if it is there.
    pub(super) fn resolve(&self, branch: Option<&str>) -> Result<(FullName, Option<ObjectId>), LocalError> {
        let store = self.refs();
        let wanted = match branch {
            None => "HEAD".to_owned(),
            Some(name) if name.starts_with("refs/") => name.to_owned(),
            Some(name) => format!("refs/heads/{name}"),
        };
        let Ok(mut name) = FullName::try_from(wanted) else {
            return Err(LocalError::Name { path: self.path.clone(), name: branch.unwrap_or_default().to_owned() });
        };
        plain(&self.common_dir.join("packed-refs"), MAX_PACKED_REFS)?;
        for _ in 0..=MAX_SYMBOLIC {
            let file = name.as_bstr().to_string();
            plain(&self.git_dir.join(&file), MAX_REF)?;
            plain(&self.common_dir.join(file), MAX_REF)?;
            let unreadable = |why: String| self.unreadable(&name, why);
            let found = store.try_find(name.as_bstr()).map_err(|error| unreadable(error.to_string()))?;
            match found.filter(|found| found.name == name).map(|found| found.target) {
                Some(Target::Object(id)) => return Ok((name, Some(id))),
                Some(Target::Symbolic(next)) => name = next,
                None => return Ok((name, None)),
            }
        }
        Err(self.unreadable(&name, "its names go round in a circle".to_owned()))
    }

    /// A ref that keeps `name` from being one: names are directories of each other, in a list of packed refs too.
    pub(super) fn in_the_way(&self, name: &FullName) -> Result<Option<String>, LocalError> {
        let store = self.refs();
        let unreadable = |why: String| self.unreadable(name, why);
        let whole = name.as_bstr().to_string();
        for (at, _) in whole.match_indices('/').skip(1) {
            let Ok(above) = FullName::try_from(&whole[..at]) else { continue };
            let found = store.try_find(above.as_bstr()).map_err(|error| unreadable(error.to_string()))?;
            if found.is_some_and(|found| found.name == above) {
                return Ok(Some(above.as_bstr().to_string()));
            }
        }
        let below = format!("{whole}/");
        let prefix = below.as_bytes().try_into().map_err(|_| unreadable("it is no prefix".to_owned()))?;
        let refs = store.iter().map_err(|error| unreadable(error.to_string()))?;
        let mut refs = refs.prefixed(prefix).map_err(|error| unreadable(error.to_string()))?;
        Ok(refs.find_map(Result::ok).map(|found| found.name.as_bstr().to_string()))
    }

    fn refs(&self) -> file::Store {
        refs::store(self.git_dir.clone(), (self.common_dir != self.git_dir).then(|| self.common_dir.clone()))
    }

    /// What work trees of it, its own and linked ones, are of.
    pub(super) fn checked_out(&self) -> Result<Vec<String>, LocalError> {
        let configuration = self.configuration()?;
        let said = configuration.and_then(|file| file.boolean("core.bare").ok()?);
        let mut heads = Vec::new();
        if !said.unwrap_or(self.git_dir == self.path) {
            heads.push(self.common_dir.join("HEAD"));
        }
        if let Ok(linked) = fs::read_dir(self.common_dir.join("worktrees")) {
            heads.extend(linked.filter_map(Result::ok).map(|linked| linked.path().join("HEAD")));
        }
        let read = |head: &PathBuf| {
            plain(head, MAX_REF)?;
            // One that cannot be read is of nothing.
            Ok(fs::read_to_string(head).unwrap_or_default())
        };
        let named = |text: String| text.strip_prefix("ref: ").map(|name| name.trim_end().to_owned());
        heads.iter().map(read).filter_map(|text| text.map(named).transpose()).collect()
    }

    fn unreadable(&self, name: &FullName, why: String) -> LocalError {
        LocalError::Ref { path: self.path.clone(), name: name.as_bstr().to_string(), why }
    }

    fn configuration(&self) -> Result<Option<config::File>, LocalError> {
        let path = self.common_dir.join("config");
        plain(&path, MAX_CONFIGURATION)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LocalError::Unreadable { path, source }),
        };
        let metadata = config::file::Metadata::from(config::Source::Local);
        let file = config::File::from_bytes_no_includes(&bytes, metadata, config::file::init::Options::default());
        file.map(Some).map_err(|error| LocalError::Unreadable { path, source: io::Error::other(error) })
    }

    fn check_configuration(&self) -> Result<(), LocalError> {
        let Some(file) = self.configuration()? else { return Ok(()) };
        let path = || self.path.clone();
        match file.string("extensions.objectFormat") {
            Some(format) if format.eq_ignore_ascii_case(b"sha256") => return Err(LocalError::Sha256(path())),
            Some(value) if !value.eq_ignore_ascii_case(b"sha1") => {
                return Err(LocalError::Extension { path: path(), key: "extensions.objectFormat", value });
            }
            _ => {}
        }
        match file.string("extensions.refStorage") {
            Some(format) if format.eq_ignore_ascii_case(b"reftable") => Err(LocalError::Reftable(path())),
            Some(value) if !value.eq_ignore_ascii_case(b"files") => {
                Err(LocalError::Extension { path: path(), key: "extensions.refStorage", value })
            }
            _ => Ok(()),
        }
    }

    fn check_alternates(&self) -> Result<(), LocalError> {
        let alternates = self.common_dir.join("objects/info/alternates");
        plain(&alternates, MAX_CONFIGURATION)?;
        match fs::read(alternates) {
            Ok(lines) if lines.trim().is_empty() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(LocalError::Alternates(self.path.clone())),
        }
    }
}

/// Refuses what would be read for ever: a pipe, a device, a file without end. Directories are for others to refuse.
fn plain(path: &Path, limit: u64) -> Result<(), LocalError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() || (metadata.is_file() && metadata.len() <= limit) => Ok(()),
        Ok(_) => Err(LocalError::Strange { path: path.to_owned(), limit }),
        // There is none, or reading it says why not.
        Err(_) => Ok(()),
    }
}

fn known_branches(store: &file::Store) -> io::Result<Vec<String>> {
    let platform = store.iter().map_err(io::Error::other)?;
    let prefix = b"refs/heads/".as_slice().try_into().map_err(io::Error::other)?;
    let names = platform.prefixed(prefix)?.filter_map(Result::ok).map(|found| found.name.shorten().to_string());
    Ok(names.take(MAX_KNOWN).collect())
}

fn missing(path: &Path, parts: &[&'static str]) -> &'static str {
    parts.iter().find(|part| !path.join(part).exists()).expect("one is missing")
}
