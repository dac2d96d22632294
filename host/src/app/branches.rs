//! A branch of a repository of ours, as guests ask for it: what is in memory is answered at once, and what must be read
//! never holds a thread of the runtime's.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::SystemTime,
};

use atoll_git::{BlobReader, ReadError, Snapshot};
use atoll_runtime::{Blob, Body, BodyError, Branch, Entry, Kind, TreeAnswer, TreeError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;

/// Bytes of one frame of a body: what a TLS record holds four times over.
const CHUNK: usize = 64 << 10;

/// Frames that are made in a row of what the kernel has in memory, before others have their turn.
const IN_A_ROW: u8 = 8;

/// One revision of a binding.
pub(super) struct GitBranch {
    snapshot: Snapshot,
    /// What tells the remote that it came from; empty where nobody knows.
    origin: String,
    committed: u64,
}

impl GitBranch {
    pub(super) fn new(snapshot: Snapshot, origin: String) -> Self {
        // A clock that goes ahead makes nothing that was modified tomorrow (RFC 9110, section 8.8.2.1).
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let committed = snapshot.committed().min(now);
        Self { snapshot, origin, committed }
    }

    async fn off<T: Send + 'static>(
        &self,
        path: &str,
        read: impl FnOnce(&Snapshot, &str) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let (snapshot, path) = (self.snapshot.clone(), path.to_owned());
        let read = tokio::task::spawn_blocking(move || read(&snapshot, &path)).await;
        read.map_err(|_| TreeError::Other("reading failed".into()))?.map_err(|failed| error(&failed))
    }
}

impl Branch for GitBranch {
    fn revision(&self) -> &str {
        self.snapshot.revision()
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn is_known(&self) -> bool {
        !self.snapshot.revision().is_empty() || !self.origin.is_empty()
    }

    fn committed(&self) -> u64 {
        self.committed
    }

    fn entry<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Entry> {
        Box::pin(async move {
            match self.snapshot.cached_entry(path) {
                Some(found) => found.map(entry).map_err(|failed| error(&failed)),
                None => self.off(path, atoll_git::Snapshot::entry).await.map(entry),
            }
        })
    }

    fn children<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Vec<Entry>> {
        Box::pin(async move {
            let children = match self.snapshot.cached_children(path) {
                Some(found) => found.map_err(|failed| error(&failed))?,
                None => self.off(path, atoll_git::Snapshot::children).await?,
            };
            Ok(children.into_iter().map(entry).collect())
        })
    }

    fn size<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, u64> {
        Box::pin(async move {
            match self.snapshot.cached_size(path) {
                Some(found) => found.map_err(|failed| error(&failed)),
                None => self.off(path, atoll_git::Snapshot::size).await,
            }
        })
    }

    fn contents<'a>(&'a self, path: &'a str, limit: u64) -> TreeAnswer<'a, Bytes> {
        Box::pin(async move {
            match self.snapshot.cached_contents(path, limit) {
                Some(found) => found.map_err(|failed| error(&failed)),
                None => self.off(path, move |snapshot, path| snapshot.contents(path, limit)).await,
            }
        })
    }

    fn read<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Blob> {
        Box::pin(async move {
            let reader = match self.snapshot.cached_read(path) {
                Some(found) => found.map_err(|failed| error(&failed))?,
                None => self.off(path, atoll_git::Snapshot::read).await?,
            };
            let size = reader.size();
            let body: Body =
                BlobBody { left: size, in_a_row: 0, reading: Reading::Idle(Box::new(reader)) }.boxed_unsync();
            Ok(Blob { size, body })
        })
    }
}

fn entry(entry: atoll_git::Entry) -> Entry {
    let kind = match entry.kind {
        atoll_git::Kind::File => Kind::File,
        atoll_git::Kind::Executable => Kind::Executable,
        atoll_git::Kind::Symlink => Kind::Symlink,
        atoll_git::Kind::Directory => Kind::Directory,
        atoll_git::Kind::Submodule => Kind::Submodule,
    };
    Entry { name: entry.name, kind, id: entry.id.to_string() }
}

/// The runtime's kind, as `git` has it.
pub(super) fn theirs(kind: Kind) -> atoll_git::Kind {
    match kind {
        Kind::File => atoll_git::Kind::File,
        Kind::Executable => atoll_git::Kind::Executable,
        Kind::Symlink => atoll_git::Kind::Symlink,
        Kind::Directory => atoll_git::Kind::Directory,
        Kind::Submodule => atoll_git::Kind::Submodule,
    }
}

pub(super) fn error(error: &ReadError) -> TreeError {
    match error {
        ReadError::NotFound => TreeError::NotFound,
        ReadError::TooLarge => TreeError::TooLarge,
        ReadError::Corrupt(words) => TreeError::Corrupt(words.clone()),
        ReadError::Io(words) => TreeError::Other(words.clone()),
    }
}

/// The contents of a blob, piece by piece.
struct BlobBody {
    left: u64,
    in_a_row: u8,
    reading: Reading,
}

enum Reading {
    Idle(Box<BlobReader>),
    /// On a thread where it may wait for the disk.
    Away(JoinHandle<(Box<BlobReader>, Result<Bytes, ReadError>)>),
    Over,
}

impl http_body::Body for BlobBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            self.reading = Reading::Over;
        }
        let chunk = loop {
            match std::mem::replace(&mut self.reading, Reading::Over) {
                Reading::Over => return Poll::Ready(None),
                Reading::Idle(reader) if self.in_a_row == IN_A_ROW => {
                    self.reading = Reading::Idle(reader);
                    self.in_a_row = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Reading::Idle(mut reader) => match reader.chunk_at_hand(CHUNK).transpose() {
                    Some(chunk) => {
                        self.reading = Reading::Idle(reader);
                        self.in_a_row += 1;
                        break chunk;
                    }
                    None => {
                        self.reading = Reading::Away(tokio::task::spawn_blocking(move || {
                            let chunk = reader.chunk(CHUNK);
                            (reader, chunk)
                        }));
                    }
                },
                Reading::Away(mut away) => match Pin::new(&mut away).poll(cx) {
                    Poll::Pending => {
                        self.reading = Reading::Away(away);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((reader, chunk))) => {
                        self.reading = Reading::Idle(reader);
                        self.in_a_row = 0;
                        break chunk;
                    }
                    Poll::Ready(Err(_)) => {
                        return Poll::Ready(Some(Err(TreeError::Other("reading failed".into()).into())));
                    }
                },
            }
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(failed) => {
                self.reading = Reading::Over;
                return Poll::Ready(Some(Err(error(&failed).into())));
            }
        };
        if chunk.is_empty() {
            self.reading = Reading::Over;
            return Poll::Ready(Some(Err(TreeError::Corrupt("shorter than its size".into()).into())));
        }
        self.left = self.left.saturating_sub(chunk.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
