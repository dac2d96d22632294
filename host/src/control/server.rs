//! The host's end of the socket. Whoever connects is a program of the same user's, and may still be broken: everything
//! that it sends is bounded in size and time, and so is the number of those who do.

use std::{
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, broadcast::error::RecvError},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    LARGEST_COMPONENT,
    messages::{Refusal, Reloaded, Reply, Request, Status},
};
use crate::{
    journal::{Entry, Log},
    text::{nearest, quoted},
};

/// What a running host can be asked for.
pub trait Control: Send + Sync + 'static {
    /// Ends when the host has started: what is asked for below is asked for then.
    fn started(&self) -> impl Future<Output = ()> + Send;

    fn status(&self) -> impl Future<Output = Status> + Send;

    /// Ends when the new generation serves, or when its proof has failed; answers with its digest.
    fn swap(&self, name: &str, component: Vec<u8>) -> impl Future<Output = Result<String, Refusal>> + Send;

    /// Ends when all that it changed serves, or when nothing was changed.
    fn reload(&self) -> impl Future<Output = Result<Reloaded, Refusal>> + Send;
}

/// What one client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At once.
    pub clients: usize,
    /// Of a request's line, in bytes.
    pub request: u64,
    /// For a request's line to arrive.
    pub arrival: Duration,
    /// For the next bytes to arrive or to be taken.
    pub progress: Duration,
    /// For a host that is starting, where a client waits for what others are answered at once.
    pub start: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clients: 32,
            request: 4096,
            arrival: Duration::from_secs(5),
            progress: Duration::from_secs(10),
            start: Duration::from_secs(5),
        }
    }
}

/// Of a socket: unix(7).
const LONGEST_PATH: usize = 107;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} belongs to user {owner}, not to this one", path.display())]
    NotOurs { path: PathBuf, owner: u32 },
    #[error("{} is open to other users: chmod 700 it", .0.display())]
    Open(PathBuf),
    #[error("{} is in the way: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    #[error("{} is longer than the path of a socket may be (107 bytes): give the state a shorter one with --state", .0.display())]
    TooLong(PathBuf),
    #[error("cannot listen at {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Binds the socket in a state directory, which must be ours alone and locked: a socket that is there is nobody's.
///
/// # Errors
/// Where the directory is open to others, or the socket cannot be made.
pub fn listen(state: &Path) -> Result<UnixListener, ListenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ListenError::Io(path, error)
    };
    let directory = std::fs::metadata(state).map_err(failed(state))?;
    if !directory.is_dir() {
        return Err(ListenError::NotADirectory(state.to_owned()));
    }
    if directory.uid() != rustix::process::geteuid().as_raw() {
        return Err(ListenError::NotOurs { path: state.to_owned(), owner: directory.uid() });
    }
    if directory.mode() & 0o077 != 0 {
        return Err(ListenError::Open(state.to_owned()));
    }
    let path = super::socket(state);
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(ListenError::TooLong(path));
    }
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(&path).map_err(failed(&path))?,
        Ok(_) => return Err(ListenError::InTheWay(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ListenError::Io(path, error)),
    }
    let listener = UnixListener::bind(&path).map_err(failed(&path))?;
    // Until here the directory's mode kept others out.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(failed(&path))?;
    Ok(listener)
}

/// Whether a user may ask the host of `owner` anything. Root may become anybody.
pub fn admits(owner: u32, peer: u32) -> bool {
    peer == owner || peer == 0
}

/// Serves until the shutdown, and then cuts off who is still there. `admits` is asked with a peer's user id.
pub async fn serve<C: Control>(
    listener: UnixListener,
    control: Arc<C>,
    log: Arc<Log>,
    bounds: Bounds,
    admits: impl Fn(u32) -> bool,
    shutdown: CancellationToken,
) {
    /// After a failed accept: out of descriptors, which some client will give back.
    const PAUSE: Duration = Duration::from_millis(100);

    let permits = Arc::new(Semaphore::new(bounds.clients));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        if !stream.peer_cred().is_ok_and(|peer| admits(peer.uid())) {
            turn_away(stream, "this host belongs to another user");
            continue;
        }
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            turn_away(stream, "too many clients at once: close some (`host logs --follow`?), or try again");
            continue;
        };
        let session = Session { control: control.clone(), log: log.clone(), bounds };
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            // An error is the client's going away: nobody is left to be told.
            let _ = shutdown.run_until_cancelled(session.run(stream)).await;
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// A reply that fits into the socket's buffer, and costs no task.
fn turn_away(stream: UnixStream, why: &str) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = io::Write::write_all(&mut stream, &line(&Reply::Failed(Refusal::new(why))));
    }
}

struct Session<C> {
    control: Arc<C>,
    log: Arc<Log>,
    bounds: Bounds,
}

impl<C: Control> Session<C> {
    async fn run(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let request = match timeout(self.bounds.arrival, self.request(&mut reader)).await {
            Ok(Ok(request)) => request,
            Ok(Err(why)) => return self.reply(&mut writer, &Reply::Failed(Refusal::new(why))).await,
            Err(_) => return self.reply(&mut writer, &Reply::Failed(Refusal::new("no request came in time"))).await,
        };
        let reply = match request {
            Request::Ps {} => match self.status().await {
                Ok(status) => Reply::Status(status),
                Err(refusal) => Reply::Failed(refusal),
            },
            Request::Reload {} => {
                self.control.started().await;
                match self.control.reload().await {
                    Ok(reloaded) => Reply::Reloaded(reloaded),
                    Err(refusal) => Reply::Failed(refusal),
                }
            }
            Request::Swap { name, length } => match self.component(&mut reader, length).await {
                Ok(component) => match self.known_at_last(&name).await {
                    Err(refusal) => Reply::Failed(refusal),
                    Ok(()) => match self.control.swap(&name, component).await {
                        Ok(digest) => Reply::Swapped { digest },
                        Err(refusal) => Reply::Failed(refusal),
                    },
                },
                Err(why) => Reply::Failed(Refusal::new(why)),
            },
            Request::Logs { follow, name } => match self.known(name.as_deref()).await {
                Err(refusal) => Reply::Failed(refusal),
                Ok(()) => return self.lines(&mut reader, &mut writer, follow, name.as_deref()).await,
            },
        };
        self.reply(&mut writer, &reply).await
    }

    async fn request(&self, reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Request, String> {
        let mut line = Vec::new();
        let read = reader.take(self.bounds.request).read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        if line.len() as u64 == self.bounds.request && line.last() != Some(&b'\n') {
            return Err(format!("a request is at most {} bytes", self.bounds.request));
        }
        serde_json::from_slice(&line).map_err(|error| format!("not a request that this host knows: {error}"))
    }

    /// Memory is taken as the bytes come, not as they are promised.
    async fn component(&self, reader: &mut (impl AsyncReadExt + Unpin), length: u64) -> Result<Vec<u8>, String> {
        if length > LARGEST_COMPONENT {
            return Err(format!("a component is at most {LARGEST_COMPONENT} bytes, and this has {length}"));
        }
        let mut component = Vec::new();
        let mut rest = reader.take(length);
        while (component.len() as u64) < length {
            match timeout(self.bounds.progress, rest.read_buf(&mut component)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => {
                    return Err(format!("the component ended after {} of {length} bytes", component.len()));
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the component's bytes did not come in time".into()),
            }
        }
        Ok(component)
    }

    /// How it stands, of a host that has started or is about to have.
    async fn status(&self) -> Result<Status, Refusal> {
        let starting = "the host is starting: `host logs` says what it has come to";
        let started = timeout(self.bounds.start, self.control.started()).await;
        started.map_err(|_| Refusal::new(starting))?;
        Ok(self.control.status().await)
    }

    /// Whether there is a component of this name, however long a start takes.
    async fn known_at_last(&self, name: &str) -> Result<(), Refusal> {
        self.control.started().await;
        self.known(Some(name)).await
    }

    async fn known(&self, name: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = name else { return Ok(()) };
        let status = self.status().await?;
        let known: Vec<_> = status.components.iter().map(|component| &*component.name).collect();
        if known.contains(&name) {
            return Ok(());
        }
        let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Err(Refusal::new(format!("no component {}{hint}", quoted(name))))
    }

    async fn lines(
        &self,
        reader: &mut (impl AsyncReadExt + Unpin),
        writer: &mut (impl AsyncWriteExt + Unpin),
        follow: bool,
        name: Option<&str>,
    ) -> io::Result<()> {
        let wanted = |entry: &Entry| name.is_none_or(|name| entry.component.as_deref() == Some(name));
        let (kept, mut lines) = self.log.follow();
        for entry in kept.iter().filter(|entry| wanted(entry)) {
            self.reply(writer, &Reply::Line((**entry).clone())).await?;
        }
        // The log itself may let them go now.
        drop(kept);
        if !follow {
            return self.reply(writer, &Reply::End).await;
        }
        loop {
            let next = tokio::select! {
                next = lines.recv() => next,
                // A client that follows says nothing more: it has gone, or it is broken.
                _ = reader.read_u8() => return Ok(()),
            };
            match next {
                Ok(entry) if wanted(&entry) => self.reply(writer, &Reply::Line((*entry).clone())).await?,
                Ok(_) => {}
                Err(RecvError::Lagged(lines)) => self.reply(writer, &Reply::Lost { lines }).await?,
                Err(RecvError::Closed) => return self.reply(writer, &Reply::End).await,
            }
        }
    }

    async fn reply(&self, writer: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> io::Result<()> {
        timeout(self.bounds.progress, writer.write_all(&line(reply))).await.map_err(io::Error::from)?
    }
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).expect("a reply has no map with keys that are not strings");
    line.push(b'\n');
    line
}
