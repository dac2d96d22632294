//! `publication`: branches that were granted for writing. What one instance stages is bounded; what it publishes is noted,
//! so that an agent is not woken by its own commit.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime::{
    StoreContextMut,
    component::{Accessor, Resource, Source, StreamConsumer, StreamReader, StreamResult},
};

use super::{Ours, repository::OpenBranch, stdio::printable};
use crate::{
    Author, Contents, Kind, PublishError, Staging, TreeError,
    bindings::{
        publication as wit,
        repository::{Error, Kind as WitKind},
    },
    check_commit, check_path, check_place,
    ctx::{Ctx, Given},
    limits,
};

/// What is copied out of a guest at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Commits of one generation that are remembered.
const REMEMBERED: usize = 64;

/// A tree in the making, as the guest holds it.
#[expect(unreachable_pub, reason = "generated code names it again as public")]
pub struct OpenStaging {
    staging: Arc<dyn Staging>,
    share: Arc<Share>,
}

/// What all that one instance stages takes.
#[derive(Default)]
pub(crate) struct Taken {
    stagings: AtomicUsize,
    /// Files being written now.
    writing: AtomicUsize,
    changes: AtomicUsize,
    bytes: AtomicU64,
}

/// One staging's part of it, given back with it.
struct Share {
    of: Arc<Taken>,
    changes: AtomicUsize,
    bytes: AtomicU64,
}

/// The commits that instances of one generation made last.
#[derive(Default)]
pub(crate) struct Commits(Mutex<Vec<String>>);

impl Commits {
    /// Those that nobody took yet.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, id: &str) {
        let mut commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if commits.len() == REMEMBERED {
            commits.remove(0);
        }
        commits.push(id.to_owned());
    }
}

impl Share {
    fn of(taken: &Arc<Taken>) -> Result<Arc<Self>, PublishError> {
        let share = Self { of: taken.clone(), changes: AtomicUsize::new(0), bytes: AtomicU64::new(0) };
        // Counted first, so that the drop of one too many takes it back.
        if taken.stagings.fetch_add(1, Ordering::Relaxed) >= limits::STAGINGS {
            return Err(other("too many stagings are open"));
        }
        Ok(Arc::new(share))
    }

    fn change(&self) -> Result<(), PublishError> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        match self.of.changes.fetch_add(1, Ordering::Relaxed) {
            before if before < limits::CHANGES => Ok(()),
            _ => Err(TreeError::TooLarge.into()),
        }
    }

    fn bytes(&self, more: usize) -> Result<(), PublishError> {
        self.bytes.fetch_add(more as u64, Ordering::Relaxed);
        let before = self.of.bytes.fetch_add(more as u64, Ordering::Relaxed);
        if before + more as u64 <= limits::STAGED { Ok(()) } else { Err(TreeError::TooLarge.into()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.stagings.fetch_sub(1, Ordering::Relaxed);
        self.of.changes.fetch_sub(*self.changes.get_mut(), Ordering::Relaxed);
        self.of.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A file that is being written.
struct Writing(Arc<Taken>);

impl Writing {
    fn begin(taken: &Arc<Taken>) -> Result<Self, PublishError> {
        let writing = Self(taken.clone());
        let before = taken.writing.fetch_add(1, Ordering::Relaxed);
        if before < limits::WRITING { Ok(writing) } else { Err(other("too many files are being written at once")) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenStaging {
    fn get(ctx: &Ctx, handle: &Resource<Self>) -> wasmtime::Result<(Arc<dyn Staging>, Arc<Share>)> {
        let open = ctx.table.get(handle)?;
        Ok((open.staging.clone(), open.share.clone()))
    }
}

type Published<T> = wasmtime::Result<Result<T, wit::Failure>>;

impl wit::Host for Ctx {}

impl wit::HostStaging for Ctx {
    fn base(&mut self, handle: Resource<OpenStaging>) -> wasmtime::Result<Resource<OpenBranch>> {
        let (staging, _) = OpenStaging::get(self, &handle)?;
        Ok(self.table.push(OpenBranch::new(staging.base()))?)
    }

    async fn place(&mut self, handle: Resource<OpenStaging>, path: String, kind: WitKind, id: String) -> Published<()> {
        let (staging, share) = OpenStaging::get(self, &handle)?;
        if let Err(error) = share.change().and_then(|()| Ok(check_path(&path, kind.into())?)) {
            return Ok(Err(error.into()));
        }
        Ok(staging.place(path, kind.into(), id).await.map_err(Into::into))
    }

    async fn remove(&mut self, handle: Resource<OpenStaging>, path: String) -> Published<()> {
        let (staging, share) = OpenStaging::get(self, &handle)?;
        // What has no name in a tree is not looked for there.
        if let Err(error) = share.change().and_then(|()| Ok(check_place(&path)?)) {
            return Ok(Err(error.into()));
        }
        Ok(staging.remove(path).await.map_err(Into::into))
    }

    fn drop(&mut self, handle: Resource<OpenStaging>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl wit::HostStagingWithStore<Ctx> for Ours {
    async fn open(accessor: &Accessor<Ctx, Self>, name: String) -> Published<Resource<OpenStaging>> {
        let begun = accessor.with(|mut store| {
            let ctx = store.get();
            ctx.answering.uses_the_world();
            let publication = granted(&ctx.given, &name)?;
            Ok((publication, Share::of(&ctx.taken)?))
        });
        let (publication, share) = match begun {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        match publication.open().await {
            Ok(staging) => accessor.with(|mut store| Ok(Ok(store.get().table.push(OpenStaging { staging, share })?))),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn write(
        accessor: &Accessor<Ctx, Self>,
        handle: Resource<OpenStaging>,
        path: String,
        kind: WitKind,
        contents: StreamReader<u8>,
    ) -> Published<String> {
        let (chunks, received) = mpsc::channel(1);
        let begun = accessor.with(|mut store| -> wasmtime::Result<_> {
            let (staging, share) = OpenStaging::get(store.get(), &handle)?;
            let taken = store.get().taken.clone();
            let checked = share.change().and_then(|()| Ok(check_written(&path, kind.into())?));
            let begun = checked.and_then(|()| Writing::begin(&taken));
            contents.pipe(&mut store, Chunks { to: PollSender::new(chunks), share })?;
            Ok(begun.map(|writing| (staging, writing)))
        })?;
        let (staging, _writing) = match begun {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(staging.write(path, kind.into(), Contents::new(received)).await.map_err(Into::into))
    }

    async fn commit(
        accessor: &Accessor<Ctx, Self>,
        handle: Resource<OpenStaging>,
        author: wit::Author,
        message: String,
    ) -> Published<String> {
        let (open, given) = accessor.with(|mut store| -> wasmtime::Result<_> {
            Ok((store.get().table.delete(handle)?, store.get().given.clone()))
        })?;
        let base = open.staging.base().revision().to_owned();
        let author = Author { name: author.name, email: author.email };
        if let Err(error) = check_commit(&author, &message) {
            return Ok(Err(PublishError::from(error).into()));
        }
        let committed = open.staging.commit(author, message, (given.wall_clock)()).await;
        if let Ok(id) = committed.as_ref()
            && *id != base
        {
            given.commits.note(id);
        }
        Ok(committed.map_err(Into::into))
    }
}

/// What `name` may be written by. Says what would have allowed it, as seldom as a guest may speak.
fn granted(given: &Given, name: &str) -> Result<Arc<dyn crate::Publication>, wit::Failure> {
    if given.proving {
        let words = "nothing is published while a generation is proved";
        return Err(wit::Failure::Failed(Error::Other(words.into())));
    }
    if let Some(publication) = given.publications.get(name) {
        return Ok(publication.clone());
    }
    let granted = if given.branches.contains_key(name) { "granted for reading" } else { "not granted" };
    let name = printable(name.as_bytes());
    given.tell_denied(&format!("to write to {name}, which is {granted}"), &format!("git = {{ {name} = \"write\" }}"));
    Err(wit::Failure::Failed(Error::Denied))
}

/// Whether a file, executable or symbolic link can be written at `path`.
fn check_written(path: &str, kind: Kind) -> Result<(), TreeError> {
    if matches!(kind, Kind::Directory | Kind::Submodule) {
        return Err(TreeError::Other("a file, an executable or a symbolic link is written".into()));
    }
    check_path(path, kind)
}

/// The guest's end of a stream, as far as it is taken.
struct Chunks {
    to: PollSender<Result<Bytes, PublishError>>,
    share: Arc<Share>,
}

impl StreamConsumer<Ctx> for Chunks {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, Ctx>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.to.poll_reserve(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            // Nobody takes it: it was refused.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(Ok(())) => {}
        }
        let mut source = source.as_direct(store);
        let chunk = source.remaining();
        let chunk = Bytes::copy_from_slice(&chunk[..chunk.len().min(CHUNK)]);
        if chunk.is_empty() {
            // It only wants to know whether there is room.
            self.to.abort_send();
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let length = chunk.len();
        let result = self.share.bytes(length).map(|()| chunk);
        let taken = result.is_ok();
        // Room was made for it above; who waits for it may have gone.
        let _ = self.to.send_item(result);
        source.mark_read(length);
        Poll::Ready(Ok(if taken { StreamResult::Completed } else { StreamResult::Dropped }))
    }
}

fn other(words: &str) -> PublishError {
    TreeError::Other(words.into()).into()
}

impl From<WitKind> for Kind {
    fn from(kind: WitKind) -> Self {
        match kind {
            WitKind::File => Self::File,
            WitKind::Executable => Self::Executable,
            WitKind::Symlink => Self::Symlink,
            WitKind::Directory => Self::Directory,
            WitKind::Submodule => Self::Submodule,
        }
    }
}

impl From<PublishError> for wit::Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Conflict => Self::Conflict,
            PublishError::Unreachable(words) => Self::Unreachable(words),
            PublishError::Refused(words) => Self::Refused(words),
            PublishError::Failed(error) => Self::Failed(error.into()),
        }
    }
}
