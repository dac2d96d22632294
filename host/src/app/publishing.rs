//! Writing to a binding, as guests ask for it: over `git`'s staging, never on a thread of the runtime's. What a guest hears
//! names no address and no path of the host's; the log does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use atoll_git::{OpenError, PublishError as Unpublished, PushError, ServerError, SmartError, StageError, Uploads};
use atoll_runtime::{Author, Branch, Contents, Kind, Publication, PublishError, Published, Staging, TreeError};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    bindings::{Binding, Bindings},
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

/// A tree in the making; nothing once it was committed.
#[derive(Clone)]
struct Making {
    binding: Arc<Binding>,
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
            let staging = binding.stage().await.map_err(|error| unopened(&binding, &error))?;
            let base = Arc::new(GitBranch::new(staging.base().clone()));
            let uploads = staging.uploads();
            let making = Making { binding, staging: Arc::new(Mutex::new(Some(staging))) };
            Ok(Arc::new(GitStaging { base, uploads, making }) as Arc<dyn Staging>)
        })
    }
}

impl Making {
    /// Does something with it where it may block.
    async fn off<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut atoll_git::Staging) -> Result<T, StageError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let Self { binding, staging } = self;
        let worked = spawn_blocking(move || {
            let mut staging = staging.lock().unwrap_or_else(PoisonError::into_inner);
            staging.as_mut().map(work)
        });
        let worked = worked.await.map_err(|_| broken())?.ok_or_else(broken)?;
        worked.map_err(|error| unstaged(&binding, &error))
    }
}

impl Staging for GitStaging {
    fn base(&self) -> Arc<dyn Branch> {
        self.base.clone()
    }

    fn write(&self, path: String, kind: Kind, mut contents: Contents) -> Published<String> {
        let (mut upload, making) = (self.uploads.begin(), self.making.clone());
        Box::pin(async move {
            let failed = |error: std::io::Error| unstaged(&making.binding, &error.into());
            while let Some(chunk) = contents.chunk().await? {
                if upload.fits(chunk.len()) {
                    upload.push(&chunk).map_err(failed)?;
                } else {
                    let pushed = spawn_blocking(move || upload.push(&chunk).map(|()| upload));
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
        let Making { binding, staging } = self.making.clone();
        let author = atoll_git::Author { name: author.name, email: author.email };
        Box::pin(async move {
            let committed = spawn_blocking(move || {
                let staging = staging.lock().unwrap_or_else(PoisonError::into_inner).take();
                staging.map(|staging| staging.commit(&author, &message, now))
            });
            let committed = committed.await.map_err(|_| broken())?.ok_or_else(broken)?;
            let committed = committed.map_err(|error| match error {
                Unpublished::Stage(error) => unstaged(&binding, &error),
                Unpublished::Push(error) => unpushed(&binding, &error),
            })?;
            for warning in &committed.warnings {
                binding.warn(warning);
            }
            Ok(committed.id.map(|id| id.to_string()).unwrap_or_default())
        })
    }
}

impl Drop for GitStaging {
    /// Taking away what was staged waits for the disk.
    fn drop(&mut self) {
        let staging = self.making.staging.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(staging.lock().unwrap_or_else(PoisonError::into_inner).take()));
        }
    }
}

fn unopened(binding: &Binding, error: &OpenError) -> PublishError {
    match error {
        OpenError::Stage(error) => unstaged(binding, error),
        OpenError::Directory(_) => directory(),
        // What it is stands in the log already: whoever follows the binding says so.
        OpenError::Fetch(_) => unreachable(binding),
    }
}

fn unstaged(binding: &Binding, error: &StageError) -> PublishError {
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

fn unpushed(binding: &Binding, error: &PushError) -> PublishError {
    match error {
        PushError::Moved => PublishError::Conflict,
        PushError::Refused(words) => PublishError::Refused(words.clone()),
        PushError::Server(ServerError { why: SmartError::Said(words), .. }) => PublishError::Refused(words.clone()),
        PushError::Directory(_) => directory(),
        PushError::Unknown(_) => {
            binding.warn(&format!("can't be pushed to: {}", chain(error)));
            PublishError::Unreachable(format!(
                "the origin of {} broke off, and whether it took the commit is not known; the host's log says why",
                binding.said().name
            ))
        }
        PushError::Server(_) | PushError::Local(_) | PushError::Copy(_) => {
            binding.warn(&format!("can't be pushed to: {}", chain(error)));
            unreachable(binding)
        }
    }
}

fn unreachable(binding: &Binding) -> PublishError {
    PublishError::Unreachable(format!(
        "the origin of {} can't be reached; the host's log says why",
        binding.said().name
    ))
}

fn directory() -> PublishError {
    TreeError::Other("the binding is a plain directory, which has no commits".into()).into()
}

/// It was committed, or something went wrong that should not.
fn broken() -> PublishError {
    TreeError::Other("nothing can be staged any more".into()).into()
}
