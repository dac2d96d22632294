//! One commit on its way to where its branch comes from: over the network as a pack, on this machine into the repository
//! there. Compare-and-swap on what the branch stood at: one that moved is never overwritten.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    thread,
    time::Duration,
};

use atoll_send_pack::{Error, Pack, PackWriter, Report, Rest, Session, Update, blob_delta};
use gix::{
    ObjectId,
    hash::Kind as HashKind,
    objs::{self, TreeRefIter},
};

use crate::{
    Location, Remote, Server, ServerError, SmartError,
    objects::{DECODE_LIMIT, Fault, IntakeError, ObjectError, Objects},
    remote::{
        local::{Local, LocalError},
        receive::ReceiveError,
    },
    smart::{AGENT, Denial},
    staging::NewTree,
    transport::Talk,
};

/// How often a server is asked whether the branch moved after all, where it says no more than that it could not update it:
/// another push may hold its lock just then.
const LOOKS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(100);

/// What git's servers say where the branch moved, or is moving, under a push.
const MOVING: [&str; 6] = [
    "failed to update ref",
    "failed to lock",
    "cannot lock",
    "incorrect old value",
    "already exists",
    "does not exist",
];

/// Why a commit was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The branch is not where it was any more.
    #[error("the branch moved")]
    Moved,
    /// In the origin's words, escaped.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The conversation broke off after the commit was sent, and what the branch stands at now is not known, or may still
    /// change.
    #[error("{0}; whether it took it is not known")]
    Unknown(ServerError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error("{0} is a plain directory, which has no commits: nothing can be pushed there")]
    Directory(std::path::PathBuf),
    /// The repository on this machine, or ours.
    #[error(transparent)]
    Copy(#[from] IntakeError),
}

impl From<ReceiveError> for PushError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Moved => Self::Moved,
            ReceiveError::Refused(words) => Self::Refused(words),
            ReceiveError::Local(error) => error.into(),
            ReceiveError::Intake(error) => error.into(),
            ReceiveError::Write(error) => IntakeError::from(error).into(),
        }
    }
}

/// What is pushed: a commit, its new trees, and the blobs that the base has not.
pub(crate) struct Cargo<'a> {
    pub(crate) commit: (ObjectId, &'a [u8]),
    pub(crate) trees: &'a [NewTree],
    pub(crate) blobs: &'a [ObjectId],
    /// Where the blobs are.
    pub(crate) staged: &'a Objects,
    /// Where the trees of the base are.
    pub(crate) ours: &'a Objects,
    /// A file of ours, where a local push says what it locks.
    pub(crate) record: &'a Path,
}

/// What became of it.
pub(crate) struct Pushed<'a> {
    /// The branch stands at the commit.
    pub(crate) as_it_is: bool,
    /// What went wrong all the same.
    pub(crate) warning: Option<String>,
    /// What its owner should do where it was pushed to.
    pub(crate) advice: Option<String>,
    rest: Option<Rest<Box<dyn Talk + 'a>>>,
}

impl Pushed<'_> {
    /// Hears out the server, whose hooks may still run.
    pub(crate) fn hear(self) {
        if let Some(rest) = self.rest {
            rest.hear();
        }
    }
}

/// Moves `remote`'s branch from `old` to the cargo's commit. Blocks.
pub(crate) fn push<'a>(remote: &'a Remote, old: Option<ObjectId>, cargo: &Cargo<'_>) -> Result<Pushed<'a>, PushError> {
    remote.may_move()?;
    let branch = remote.branch.as_deref();
    match &remote.location {
        Location::Server(server) => push_to_server(server, branch, old, cargo),
        Location::Local(path) => match Local::find(path)? {
            Local::Directory(path) => Err(PushError::Directory(path)),
            Local::Repository(repository) => {
                let (id, _) = cargo.commit;
                let filled =
                    repository.receive(branch, (old, id), cargo.count(), cargo.record, |intake| cargo.fill(intake));
                let unsynced = filled?;
                let warning = unsynced
                    .map(|error| format!("{id} is published and may not survive a power cut at its origin: {error}"));
                Ok(Pushed { as_it_is: true, warning, advice: repository.untidy(), rest: None })
            }
        },
    }
}

fn push_to_server<'a>(
    server: &'a Server,
    branch: Option<&str>,
    old: Option<ObjectId>,
    cargo: &Cargo<'_>,
) -> Result<Pushed<'a>, PushError> {
    let failed = |why| PushError::Server(server.error(why));
    let name = full_name(server, branch).map_err(failed)?;
    let receiver = server.receiver(&name).map_err(failed)?;
    if receiver.at(&name) != old {
        return Err(PushError::Moved);
    }
    let pack = cargo.pack(receiver.takes_thin_packs())?;
    let update = Update { name: &name, old, new: Some(cargo.commit.0) };
    let (as_it_is, rest) = send(server, receiver, &update, Some(&pack))?;
    Ok(Pushed { as_it_is, warning: None, advice: None, rest })
}

/// Has `update` done. Whether the ref stands where it should; and what the server still has to say.
fn send<'a>(
    server: &'a Server,
    session: Session<Box<dyn Talk + 'a>>,
    update: &Update<'_>,
    pack: Option<&Pack>,
) -> Result<(bool, Option<Rest<Box<dyn Talk + 'a>>>), PushError> {
    let failed = |why| PushError::Server(server.error(why));
    let reported = session.push(std::slice::from_ref(update), pack, AGENT);
    match reported.map(|(mut reports, rest)| (reports.remove(0), rest)) {
        Ok((Report::Taken, rest)) => Ok((true, Some(rest))),
        Ok((Report::Rewritten, rest)) => Ok((false, Some(rest))),
        Ok((Report::Refused(words), rest)) => {
            rest.hear();
            let looks = if MOVING.iter().any(|said| words.contains(said)) { LOOKS } else { 1 };
            for look in 0..looks {
                if look > 0 {
                    thread::sleep(BETWEEN);
                }
                match server.receiver(update.name) {
                    Ok(session) if session.at(update.name) == update.old => {}
                    Ok(_) => return Err(PushError::Moved),
                    // It is refused, whyever.
                    Err(_) => break,
                }
            }
            Err(PushError::Refused(words))
        }
        // Before anything was sent.
        Err(why @ (Error::Lacks(_) | Error::Keeps | Error::Name(_) | Error::Nothing | Error::Packless)) => {
            Err(failed(why.into()))
        }
        Err(why) => match server.receiver(update.name).map(|session| session.at(update.name)) {
            Ok(at) if at == update.new => Ok((true, None)),
            Ok(at) if at != update.old => Err(PushError::Moved),
            // Without a word of the server's it may still be at it, behind a proxy or in its hooks.
            _ if matches!(why, Error::Said(_)) || Denial::of(&why).is_some() => Err(failed(why.into())),
            _ => Err(PushError::Unknown(server.error(why.into()))),
        },
    }
}

impl Server {
    /// Deletes the branch, or the ref in full, that stands at `old`: one that moved stays, and is [`PushError::Moved`].
    /// Blocks.
    pub fn delete(&self, branch: &str, old: ObjectId) -> Result<(), PushError> {
        let failed = |why| PushError::Server(self.error(why));
        let name = full_name(self, Some(branch)).map_err(failed)?;
        let receiver = self.receiver(&name).map_err(failed)?;
        if receiver.at(&name) != Some(old) {
            return Err(PushError::Moved);
        }
        let (as_it_is, rest) = send(self, receiver, &Update { name: &name, old: Some(old), new: None }, None)?;
        if let Some(rest) = rest {
            rest.hear();
        }
        // It was taken, and something else may have been done: what counts is that the ref is gone.
        if as_it_is || self.receiver(&name).map_err(failed)?.at(&name).is_none() {
            return Ok(());
        }
        Err(PushError::Refused("the server took the deletion, and the ref is still there".to_owned()))
    }
}

/// Which file stood before where one of `blobs` stands now, in one directory.
fn former_of(blobs: &HashSet<&ObjectId>, tree: &[u8], base: &[u8], former: &mut HashMap<ObjectId, ObjectId>) {
    let files = |raw| {
        let entries = TreeRefIter::from_bytes(raw, HashKind::Sha1).map_while(Result::ok);
        entries.filter(|entry| entry.mode.is_blob()).map(|entry| (entry.filename, entry.oid.to_owned()))
    };
    let new: HashMap<_, _> = files(tree).filter(|(_, id)| blobs.contains(id)).collect();
    if !new.is_empty() {
        former.extend(files(base).filter_map(|(name, before)| Some((*new.get(name)?, before))));
    }
}

/// A push names its ref; where the binding names none it is the one that HEAD is.
pub(crate) fn full_name(server: &Server, branch: Option<&str>) -> Result<String, SmartError> {
    match branch {
        Some(name) if name.starts_with("refs/") => Ok(name.to_owned()),
        Some(name) => Ok(format!("refs/heads/{name}")),
        None => server.look(None)?.head().map(str::to_owned).ok_or(SmartError::Headless),
    }
}

impl Cargo<'_> {
    fn count(&self) -> usize {
        1 + self.trees.len() + self.blobs.len()
    }

    fn pack(&self, thin: bool) -> Result<Pack, IntakeError> {
        let mut pack = PackWriter::create(self.staged.directory(), self.count())?;
        pack.whole(objs::Kind::Commit, self.commit.1)?;
        let (mut former, blobs) = (HashMap::new(), self.blobs.iter().collect());
        for tree in self.trees {
            // One that can't be read is only sent whole.
            let read = |id: ObjectId| Some((id, self.ours.whole(&id, DECODE_LIMIT).ok()?));
            let base = tree.base.filter(|_| thin).and_then(read);
            let base = base.as_ref().map(|(id, (_, raw))| (*id, &raw[..]));
            if let Some((_, base)) = base {
                former_of(&blobs, &tree.raw, base, &mut former);
            }
            pack.tree(&tree.raw, base)?;
        }
        for id in self.blobs {
            self.blob(*id, former.get(id), &mut pack)?;
        }
        Ok(pack.finish()?)
    }

    /// A blob; where `base` is there as it should, as what changed of that.
    fn blob(&self, id: ObjectId, base: Option<&ObjectId>, pack: &mut PackWriter) -> Result<(), IntakeError> {
        let failed = |fault| IntakeError::from(ObjectError { id, fault });
        let mut object = self.staged.object(&id)?;
        let (kind, size) = (object.kind, object.size);
        if let Some(base_id) = base
            && size <= blob_delta::LIMIT as u64
            && let Ok((objs::Kind::Blob, base)) = self.ours.whole(base_id, blob_delta::LIMIT as u64)
        {
            let (_, bytes) = self.staged.whole(&id, size)?;
            return Ok(pack.blob(&bytes, Some((*base_id, &base)))?);
        }
        pack.stream(kind, size, |out| match object.fill(out) {
            Ok(0) => Err(failed(Fault::damaged("it is shorter than its header says"))),
            read => read.map_err(failed),
        })
    }

    /// Children before what names them.
    fn fill(&self, intake: &mut crate::objects::Intake<'_>) -> Result<(), IntakeError> {
        for id in self.blobs {
            intake.object(*id, self.staged.object(id)?)?;
        }
        for tree in self.trees {
            intake.bytes(tree.id, objs::Kind::Tree, &tree.raw)?;
        }
        intake.bytes(self.commit.0, objs::Kind::Commit, self.commit.1)
    }
}
