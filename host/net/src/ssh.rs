//! SSH over the dialler: one connection to one server, kept, and a command on each of its channels. The server proves who
//! it is before anything of ours is sent, and there is no way around that. No program, no terminal, no forwarding, of an
//! agent neither.

mod agent;
mod certificate;
mod key;
mod make;
mod rsa;
mod trust;

use std::{
    borrow::Cow,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{self, Digest};
use bytes::Bytes;
use russh::{
    AgentAuthError, AlgorithmKind, Channel, ChannelMsg, Preferred,
    client::{self, AuthResult, Config, Handle, Handler, Msg},
    keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, ssh_key::public::KeyData},
};

pub use self::{
    agent::AgentError,
    key::{Key, KeyError},
    make::{Kind, MakeError, NewKey},
    trust::Trust,
};
use self::{certificate::Signing, key::Made, trust::Trusted};
use crate::{DialError, Dialler, Place, Target};

/// A server that says nothing is asked whether it is still there, so often, and given up after three times.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a connection that is kept may take to open a channel, before another is made.
const PROMPT: Duration = Duration::from_secs(5);

/// What a command says on its standard error that is kept, in bytes.
const MAX_SAID: usize = 1024;

/// Why a command does not run on a server.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Who answers did not prove to be who it should be. The words say what would accept it.
    #[error("{0}")]
    Untrusted(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("the server refuses the key in {file} for {user}; its line for authorized_keys: {line}")]
    Refused { file: String, user: String, line: String },
    #[error("the server wants a key for {0}: name its file, key = \"FILE\"")]
    NoKey(String),
    #[error("{0}")]
    Protocol(#[from] russh::Error),
    #[error("the server does not run the command")]
    Command,
}

/// One account on one server. The connection is opened when it is first needed, and shared.
pub struct Ssh {
    dialler: Dialler,
    target: Target,
    user: String,
    key: Option<Key>,
    trust: Trust,
    /// Of a key that is made of a seed.
    made: Arc<Made>,
    /// Of which type the server's key was that proved right last: of a pin nothing else says it.
    proved: Arc<Mutex<Option<Algorithm>>>,
    session: tokio::sync::Mutex<Option<Kept>>,
    keep_alive: Duration,
}

/// A connection, and what it rests on.
struct Kept {
    session: Arc<Handle<Checking>>,
    grounds: Digest,
}

/// A command that runs: its standard input and output.
pub struct Command {
    /// Until it is dropped.
    channel: Option<Channel<Msg>>,
    /// So that the connection outlives a newer one that takes its place.
    session: Arc<Handle<Checking>>,
    said: Vec<u8>,
}

impl Ssh {
    pub fn new(dialler: &Dialler, target: Target, user: &str, key: Option<Key>, trust: Trust) -> Self {
        let (dialler, user, session) = (dialler.clone(), user.to_owned(), tokio::sync::Mutex::default());
        Self {
            dialler,
            target,
            user,
            key,
            trust,
            made: Arc::default(),
            proved: Arc::default(),
            session,
            keep_alive: KEEP_ALIVE,
        }
    }

    /// All that `trust` and `key` name, as it stands now. Blocks, for as long as a few small files take.
    fn grounds(&self) -> Digest {
        let mut grounds = digest::Context::new(&digest::SHA256);
        for piece in self.trust.pieces().into_iter().chain(self.key.iter().flat_map(Key::pieces)) {
            grounds.update(&piece.len().to_le_bytes());
            grounds.update(&piece);
        }
        grounds.finish()
    }

    /// Runs `command`, with the variables of its environment that the server lets pass. `connect` is how long each step of a new
    /// connection may take: to be reached, and to be let in. Blocks a little, too.
    pub async fn run(
        &self,
        command: &str,
        environment: &[(&str, &str)],
        connect: Duration,
    ) -> Result<Command, SshError> {
        let mut kept = self.session.lock().await;
        // Whom we trust, and what we show, may be another now: then so is the connection.
        let grounds = self.grounds();
        let open = match &*kept {
            Some(Kept { session, grounds: before }) if !session.is_closed() && before.as_ref() == grounds.as_ref() => {
                // One whose server has gone without a word would be asked until it is given up.
                let opened = tokio::time::timeout(connect.min(PROMPT), session.channel_open_session()).await;
                opened.ok().and_then(Result::ok).zip(Some(session.clone()))
            }
            _ => None,
        };
        let (channel, session) = if let Some(open) = open {
            open
        } else {
            *kept = None;
            let session = Arc::new(self.connect(connect).await?);
            *kept = Some(Kept { session: session.clone(), grounds });
            (session.channel_open_session().await?, session)
        };
        drop(kept);
        for (name, value) in environment {
            channel.set_env(false, *name, *value).await?;
        }
        channel.exec(false, command).await?;
        Ok(Command { channel: Some(channel), session, said: Vec::new() })
    }

    /// A session, `limit` for each of its steps: to know the server, and to be known to it.
    async fn connect(&self, limit: Duration) -> Result<Handle<Checking>, SshError> {
        let timed_out = |_| DialError::TimedOut { peer: self.target.place.to_string().into() };
        let mut session = tokio::time::timeout(limit, self.introduce(limit)).await.map_err(timed_out)??;
        match (tokio::time::timeout(limit, self.authenticate(&mut session, limit)).await, &self.key) {
            (Ok(authenticated), _) => authenticated?,
            (Err(_), Some(Key::Agent(socket))) => return Err(AgentError::Silent(socket.clone(), limit).into()),
            (Err(late), _) => return Err(timed_out(late).into()),
        }
        Ok(session)
    }

    async fn introduce(&self, limit: Duration) -> Result<Handle<Checking>, SshError> {
        let Place::Tcp { host, port } = &self.target.place else { return Err(SshError::Command) };
        let mut trusted = self.trust.read(&host.to_string(), *port).map_err(SshError::Untrusted)?;
        trusted.begin_with(lock(&self.proved).clone());
        let mut before = None;
        // Of a server with several keys it is any that may be pinned, and it shows one a connection.
        loop {
            match self.meet(&trusted, limit).await? {
                Ok(session) => return Ok(session),
                Err((error, None)) => {
                    let no_other = matches!(error, russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, .. });
                    return Err(before.filter(|_| no_other).map_or(SshError::Protocol(error), SshError::Untrusted));
                }
                Err((_, Some(Refusal { key, words }))) => {
                    if !trusted.look_for_another(&key) {
                        return Err(SshError::Untrusted(words));
                    }
                    before = Some(words);
                }
            }
        }
    }

    /// A connection on which the server has proved who it is; or why it came to nothing, and the key that is not right.
    async fn meet(&self, trusted: &Trusted, limit: Duration) -> Result<Met, SshError> {
        let stream = self.dialler.connect(&self.target, limit).await?;
        let refusal = Arc::<Mutex<Option<Refusal>>>::default();
        let preferred = Preferred {
            key: Cow::Owned(trusted.algorithms()),
            host_key_certificates: Cow::Owned(trusted.certificates()),
            ..Preferred::DEFAULT
        };
        let config = Config { preferred, keepalive_interval: Some(self.keep_alive), ..Config::default() };
        let checking = Checking { trusted: trusted.clone(), refusal: refusal.clone(), proved: self.proved.clone() };
        let met = client::connect_stream(Arc::new(config), stream, checking).await;
        Ok(met.map_err(|error| (error, lock(&refusal).take())))
    }

    async fn authenticate(&self, session: &mut Handle<Checking>, limit: Duration) -> Result<(), SshError> {
        let Some(from) = &self.key else {
            return match session.authenticate_none(&self.user).await? {
                AuthResult::Success => Ok(()),
                AuthResult::Failure { .. } => Err(SshError::NoKey(self.user.clone())),
            };
        };
        if let Key::Agent(socket) = from {
            return Ok(agent::authenticate(&self.dialler, socket, &self.user, session, limit).await?);
        }
        let (read, made) = (from.clone(), self.made.clone());
        let (key, certificate) = tokio::task::spawn_blocking(move || read.read_certified(&made))
            .await
            .map_err(|_| russh::Error::CouldNotReadKey)??;
        let key = Arc::new(key);
        let hash = if key.algorithm().is_rsa() {
            // Never with SHA-1.
            Some(session.best_supported_rsa_hash().await?.flatten().unwrap_or(HashAlg::Sha512))
        } else {
            None
        };
        if let Some(certificate) = certificate {
            let mut signing = Signing(&key);
            let shown = session.authenticate_certificate_with(&self.user, certificate, hash, &mut signing).await;
            let shown = shown.map_err(|error| match error {
                AgentAuthError::Send(_) => russh::Error::SendError,
                AgentAuthError::Key(error) => russh::Error::Keys(error),
            })?;
            if let AuthResult::Success = shown {
                return Ok(());
            }
        }
        let shown = PrivateKeyWithHashAlg::new(key.clone(), hash);
        match session.authenticate_publickey(&self.user, shown).await? {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { .. } => {
                let mut line = key.public_key().clone();
                line.set_comment("");
                let line = line.to_openssh().unwrap_or_default().trim_end().to_owned();
                Err(SshError::Refused { file: from.place(), user: self.user.clone(), line })
            }
        }
    }
}

impl Command {
    /// The next bytes of its output; nothing at its end.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let channel = self.channel.as_mut().expect("it is there until the drop");
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => return Ok(Some(data)),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_SAID - self.said.len();
                    self.said.extend_from_slice(&data[..data.len().min(room)]);
                }
                // What it said of its end may come after its output's.
                Some(ChannelMsg::Close) | None => return Ok(None),
                Some(ChannelMsg::Failure) => return Err(io::Error::other(SshError::Command)),
                Some(_) => {}
            }
        }
    }

    /// Sends all of `bytes` to its input.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let channel = self.channel.as_ref().expect("it is there until the drop");
        channel.data_bytes(bytes).await.map_err(io::Error::other)
    }

    /// What it said on its standard error so far, as it is.
    pub fn said(&self) -> &[u8] {
        &self.said
    }
}

/// A channel that nobody closes counts as one that is open, and a server allows a few.
impl Drop for Command {
    fn drop(&mut self) {
        let (Some(channel), Ok(runtime)) = (self.channel.take(), tokio::runtime::Handle::try_current()) else { return };
        let session = self.session.clone();
        runtime.spawn(async move {
            let _ = channel.close().await;
            drop(session);
        });
    }
}

type Met = Result<Handle<Checking>, (russh::Error, Option<Refusal>)>;

/// A server's key that is not right, and why.
struct Refusal {
    key: KeyData,
    words: String,
}

/// Looks at the server's key, before anything else is said.
struct Checking {
    trusted: Trusted,
    refusal: Arc<Mutex<Option<Refusal>>>,
    proved: Arc<Mutex<Option<Algorithm>>>,
}

impl Handler for Checking {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let key = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data(),
            PublicKeyOrCertificate::Certificate(certificate) => certificate.public_key(),
        };
        match self.trusted.check(shown, now) {
            Ok(()) => {
                *lock(&self.proved) = Some(key.algorithm());
                Ok(true)
            }
            Err(words) => {
                *lock(&self.refusal) = Some(Refusal { key: key.clone(), words });
                Ok(false)
            }
        }
    }
}

/// What one holds is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `word` as a shell of the server's takes it for one word.
pub fn quoted(word: &str) -> String {
    let mut quoted = String::from("'");
    for character in word.chars() {
        match character {
            // Out of the quotes, and back; the second one is what csh wants.
            '\'' | '!' => write!(quoted, "'\\{character}'").expect("a string takes everything"),
            character => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests;
