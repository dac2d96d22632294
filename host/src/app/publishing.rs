//! Writing to a binding, as guests ask for it: over `git`'s staging, never on a thread of the runtime's. What a guest hears
//! names no address and no path of the host's; the log does.

use std::{
    sync::{Arc, Weak},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use atoll_git::{
    FetchError, LocalError, OpenError, ProtocolError, PublishError as Unpublished, PushError, ServerError, SmartError,
    StageError, Uploads,
};
use atoll_runtime::{Author, Branch, Contents, Kind, Publication, PublishError, Published, Staging, TreeError};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
};

use super::{
    bindings::{Binding, Bindings, Title},
    branches::{self, GitBranch},
};
use crate::text::chain;

/// One binding that a component may write to, whatever its remote is by then.
pub(super) struct GitPublication {
    bindings: Arc<ArcSwap<Bindings>>,
    binding: String,
}

struct GitStaging {
    base: Arc<GitBranch>,
    uploads: Uploads,
    making: Making,
}

/// A tree in the making; nothing once it was committed. Who waits for another's turn at it holds no thread meanwhile.
#[derive(Clone)]
struct Making {
    /// Not to be followed for the sake of what may never be committed.
    binding: Weak<Binding>,
    title: Title,
    staging: Arc<Mutex<Option<atoll_git::Staging>>>,
}

impl GitPublication {
    pub(super) fn new(bindings: &Arc<ArcSwap<Bindings>>, binding: &str) -> Self {
        Self { bindings: bindings.clone(), binding: binding.to_owned() }
    }
}

impl Publication for GitPublication {
    fn open(&self) -> Published<Arc<dyn Staging>> {
        let bindings = self.bindings.load();
        let binding = bindings.iter().find(|(name, _)| ***name == *self.binding).map(|(_, binding)| binding.clone());
        Box::pin(async move {
            let binding = binding.ok_or(TreeError::NotFound)?;
            let staging = binding.stage().await.map_err(|error| unopened(binding.title(), &error))?;
            let base = Arc::new(GitBranch::new(staging.base().clone(), String::new()));
            let uploads = staging.uploads();
            let making = Making {
                binding: Arc::downgrade(&binding),
                title: binding.title().clone(),
                staging: Arc::new(Mutex::new(Some(staging))),
            };
            Ok(Arc::new(GitStaging { base, uploads, making }) as Arc<dyn Staging>)
        })
    }
}

impl Making {
    /// Its turn at it.
    async fn turn(&self) -> OwnedMutexGuard<Option<atoll_git::Staging>> {
        self.staging.clone().lock_owned().await
    }

    /// Does something with it where it may block.
    async fn off<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut atoll_git::Staging) -> Result<T, StageError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let mut staging = self.turn().await;
        let worked = spawn_blocking(move || staging.as_mut().map(work));
        let worked = worked.await.map_err(|_| broken())?.ok_or_else(broken)?;
        worked.map_err(|error| unstaged(&self.title, &error))
    }
}

impl Staging for GitStaging {
    fn base(&self) -> Arc<dyn Branch> {
        self.base.clone()
    }

    fn write(&self, path: String, kind: Kind, mut contents: Contents) -> Published<String> {
        let (mut upload, making) = (self.uploads.begin(), self.making.clone());
        Box::pin(async move {
            let failed = |error: std::io::Error| unstaged(&making.title, &error.into());
            while let Some(chunk) = contents.chunk().await? {
                if upload.fits(chunk.len()) {
                    upload.push(&chunk).map_err(failed)?;
                } else {
                    let turn = making.turn().await;
                    let pushed = spawn_blocking(move || {
                        let _turn = turn;
                        upload.push(&chunk).map(|()| upload)
                    });
                    upload = pushed.await.map_err(|_| broken())?.map_err(failed)?;
                }
            }
            let id = making.off(move |staging| staging.write(&path, branches::theirs(kind), &upload)).await?;
            Ok(id.to_string())
        })
    }

    fn place(&self, path: String, kind: Kind, id: String) -> Published<()> {
        Box::pin(self.making.clone().off(move |staging| {
            let id = atoll_git::ObjectId::from_hex(id.as_bytes()).map_err(|_| StageError::NotFound)?;
            staging.place(&path, branches::theirs(kind), id)
        }))
    }

    fn remove(&self, path: String) -> Published<()> {
        Box::pin(self.making.clone().off(move |staging| staging.remove(&path)))
    }

    fn commit(&self, author: Author, message: String, now: SystemTime) -> Published<String> {
        let making = self.making.clone();
        let author = atoll_git::Author { name: author.name, email: author.email };
        Box::pin(async move {
            // One that has ended with a reload is another branch by now.
            let binding = making.binding.upgrade().ok_or(PublishError::Conflict)?;
            let turn = binding.turn_to_commit().await;
            let staging = making.turn().await.take().ok_or_else(broken)?;
            let title = making.title.clone();
            let committed = spawn_blocking(move || {
                // Until it is pushed, whoever waits for that.
                let _kept = (binding, turn);
                let committed = staging.commit(&author, &message, now);
                for warning in committed.iter().flat_map(|committed| &committed.warnings) {
                    title.warn(warning);
                }
                committed
            });
            let committed = committed.await.map_err(|_| broken())?.map_err(|error| match error {
                Unpublished::Stage(error) => unstaged(&making.title, &error),
                Unpublished::Push(error) => unpushed(&making.title, &error),
            })?;
            Ok(committed.id.map(|id| id.to_string()).unwrap_or_default())
        })
    }
}

impl Drop for GitStaging {
    /// Taking away what was staged waits for the disk.
    fn drop(&mut self) {
        let making = self.making.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let staging = making.turn().await.take();
                let _ = spawn_blocking(move || drop(staging)).await;
            });
        }
    }
}

fn unopened(binding: &Title, error: &OpenError) -> PublishError {
    match error {
        OpenError::Stage(error) => unstaged(binding, error),
        OpenError::Directory(_) => directory(),
        // What it is stands in the log already: whoever follows the binding says so.
        OpenError::Branch(error) => {
            binding.warn(&format!("can't be written to: {}", chain(error)));
            refused_or_unreachable(binding, &error.why)
        }
        OpenError::Fetch(error) => match &**error {
            FetchError::Server(ServerError { why, .. }) => refused_or_unreachable(binding, why),
            _ => unreachable(binding),
        },
    }
}

fn unstaged(binding: &Title, error: &StageError) -> PublishError {
    let error = match error {
        StageError::NotFound => TreeError::NotFound,
        StageError::Path(words) => TreeError::Other(words.clone()),
        StageError::TooMany | StageError::TooLarge => TreeError::TooLarge,
        StageError::Read(error) => branches::error(error),
        StageError::Write(_) => {
            binding.warn(&format!("can't be written to: {}", chain(error)));
            TreeError::Other("the host can't write it".into())
        }
    };
    error.into()
}

fn unpushed(binding: &Title, error: &PushError) -> PublishError {
    match error {
        PushError::Moved => PublishError::Conflict,
        PushError::Refused(words) => PublishError::Refused(words.clone()),
        PushError::Server(ServerError { why: SmartError::Protocol(ProtocolError::Said(words)), .. }) => {
            PublishError::Refused(words.clone())
        }
        PushError::Directory(_) => directory(),
        PushError::Unknown(_) => {
            binding.warn(&format!("can't be pushed to: {}", chain(error)));
            PublishError::Unreachable(format!(
                "the origin of {} broke off, and whether it took the commit is not known; the host's log says why",
                binding.name
            ))
        }
        PushError::Server(ServerError { why, .. }) => {
            binding.warn(&format!("can't be pushed to: {}", chain(error)));
            refused_or_unreachable(binding, why)
        }
        PushError::Local(_) | PushError::Copy(_) => {
            binding.warn(&format!("can't be pushed to: {}", chain(error)));
            match error {
                PushError::Local(LocalError::Headless(_)) => {
                    PublishError::Refused("its HEAD is of no branch; name one: branch = \"NAME\"".into())
                }
                _ => unreachable(binding),
            }
        }
    }
}

/// Who hears that it is refused need not ask again.
fn refused_or_unreachable(binding: &Title, why: &SmartError) -> PublishError {
    why.refusal().map_or_else(|| unreachable(binding), PublishError::Refused)
}

fn unreachable(binding: &Title) -> PublishError {
    PublishError::Unreachable(format!("the origin of {} can't be reached; the host's log says why", binding.name))
}

fn directory() -> PublishError {
    TreeError::Other("the binding is a plain directory, which has no commits".into()).into()
}

/// It was committed, or something went wrong that should not.
fn broken() -> PublishError {
    TreeError::Other("nothing can be staged any more".into()).into()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, path::Path, process::Command, time::Duration};

    use atoll_git::{Follower, Remote, Store, Watcher};
    use atoll_runtime::{check_commit, check_path, check_place};

    use super::*;
    use crate::{journal::Log, manifest::Name};

    fn title() -> Title {
        Title::new(Name::parse("site").unwrap(), Arc::new(Log::new(Box::new(jiff::Timestamp::default))))
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build().unwrap()
    }

    /// Follows a repository without a commit. Called within a runtime.
    fn follower(folder: &Path) -> Follower {
        let made = Command::new("git").args(["init", "-q", "--bare"]).arg(folder.join("site.git")).status();
        assert!(made.unwrap().success());
        let memory = NonZeroUsize::new(1 << 20).unwrap();
        let store = Store::open(&folder.join("state"), memory, SystemTime::now()).unwrap();
        let remote = Remote::local(folder.join("site.git"));
        Follower::start(store.repository("site").unwrap(), remote, Watcher::default(), Duration::from_mins(1), |_| ())
    }

    /// Far more at once than there are threads, and the first of them slow.
    #[test]
    fn a_staging_takes_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let staging = Arc::new(Mutex::new(Some(follower(folder.path()).stage().await.unwrap())));
            let making = Making { binding: Weak::new(), title: title(), staging };
            let (go_on, waits) = std::sync::mpsc::channel::<()>();
            let first = tokio::spawn(making.clone().off(move |_| Ok(waits.recv().is_ok())));
            let rest: Vec<_> = (0..100).map(|_| tokio::spawn(making.clone().off(|_| Ok(())))).collect();
            tokio::task::yield_now().await;
            // There is a thread for others.
            spawn_blocking(|| ()).await.unwrap();
            go_on.send(()).unwrap();
            assert_eq!(first.await.unwrap(), Ok(true));
            for one in rest {
                assert_eq!(one.await.unwrap(), Ok(()));
            }
        });
    }

    /// The runtime refuses for the test kit too what only `git` would otherwise.
    #[test]
    fn what_no_tree_and_no_commit_has_is_the_same_to_all() {
        let folder = tempfile::tempdir().unwrap();
        let (long, deep) = ("n".repeat(256), vec!["d"; 257].join("/"));
        let (longest, deepest) = ("n".repeat(255), vec!["d"; 256].join("/"));
        let far = vec!["n".repeat(200).as_str(); 21].join("/");
        let names = [
            "",
            "a",
            "a/b",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            ".git",
            ".GiT/x",
            "GIT~1",
            ".git. ",
            ".git:x",
            ".g\u{200c}it",
            ".gitmodules",
            "a/.gitmodules",
            ".gitmodules/a",
            "GITMOD~1",
            "gi7eba~1",
            ".gitattributes",
            "a/GITATT~1",
            ".gitattributes/a",
            ".git\\x",
            "a\\.GIT",
            "a/b\\git~1\\c",
            "a\\.gitmodules",
            "a\\b",
            "a\0b",
            "\u{e9}",
            "\u{1b}[2J/..",
            &long,
            &longest,
            &deep,
            &deepest,
            &far,
            "a/.git/b",
            "con",
            "a:b",
            ".gitignore",
        ];
        let author = |name: &str, email: &str| Author { name: name.into(), email: email.into() };
        let long_message = "m".repeat(64 * 1024 + 1);
        let commits = [
            (author("a", "b"), "m"),
            (author("", "b"), "m"),
            (author("a", " b"), "m"),
            (author("a\n", "b"), "m"),
            (author("a<", "b"), "m"),
            (author("a", "b\u{85}c"), "m"),
            (author(&"x".repeat(256), "b"), ""),
            (author(&"x".repeat(257), "b"), "m"),
            (author("a", "b"), "m\0"),
            (author("a", "b"), &long_message),
        ];
        runtime().block_on(async {
            let (follower, title) = (follower(folder.path()), title());
            let mut staging = follower.stage().await.unwrap();
            for name in names {
                for kind in [Kind::File, Kind::Executable, Kind::Symlink] {
                    let mut at = follower.stage().await.unwrap();
                    let written = at.write(name, branches::theirs(kind), &at.uploads().begin());
                    let written = written.map(drop).map_err(|error| unstaged(&title, &error));
                    assert_eq!(check_path(name, kind).map_err(PublishError::from), written, "{name:?}");
                }
                let removed = staging.remove(name).map_err(|error| unstaged(&title, &error));
                let checked = check_place(name).map_err(PublishError::from);
                let absent = Err(TreeError::NotFound.into());
                assert_eq!(if name.is_empty() { checked } else { checked.and(absent) }, removed, "{name:?}");
            }
            for (author, message) in commits {
                let checked = check_commit(&author, message).map_err(PublishError::from);
                let said = atoll_git::Author { name: author.name, email: author.email };
                let committed = follower.stage().await.unwrap().commit(&said, message, SystemTime::now());
                let committed = committed.map(drop).map_err(|error| match error {
                    Unpublished::Stage(error) => unstaged(&title, &error),
                    Unpublished::Push(error) => unpushed(&title, &error),
                });
                assert_eq!(checked, committed, "{said:?}");
            }
        });
    }
}
