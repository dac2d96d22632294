//! What a revision's tree reaches, and what of it we lack. Each tree is looked at once, however often it is named, and not
//! at all where it is known to be whole. It writes nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use atoll_paths::{MAX_DEPTH, Shown};
use gix::{ObjectId, objs};

use crate::{
    cache::{Cache, Remembered},
    objects::{DECODE_LIMIT, Fault, ObjectError, Objects, id_of},
    tree::{Kind, Tree, TreeFault},
};

/// Trees and blobs looked at in one walk: their ids alone take some 60 MiB.
pub const MAX_OBJECTS: usize = 1 << 20;

/// Raw trees that are kept from the walk for the copy that follows, in bytes. The rest is read again.
const KEPT: usize = 16 * 1024 * 1024;

/// Lines on what a new revision holds that nobody will see.
const MAX_NOTICES: usize = 100;

/// Why a revision cannot be had whole.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Of the remote; of ours where nothing is fetched.
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("the tree {id} at {path}: {fault}")]
    Tree { id: ObjectId, path: String, fault: TreeFault },
    #[error("{0} is a {1}, where a {2} is named{hint}", hint = annotated(*.1))]
    Kind(ObjectId, objs::Kind, objs::Kind),
    #[error("directories lie more than {MAX_DEPTH} deep, at {0}")]
    TooDeep(String),
    #[error("it is made of more than {MAX_OBJECTS} objects")]
    TooMany,
}

/// What to do about one that a person may well have named.
fn annotated(kind: objs::Kind) -> &'static str {
    if kind == objs::Kind::Tag { ": name a branch, or a tag that was made without -a" } else { "" }
}

/// Trees that are here with all that they reach, and how deep that goes.
pub(crate) type Whole = HashMap<ObjectId, u16>;

/// An object that we lack.
pub(crate) struct Lacking {
    pub(crate) id: ObjectId,
    pub(crate) kind: objs::Kind,
    /// A tree that was read already.
    pub(crate) raw: Option<Vec<u8>>,
}

pub(crate) struct Walk<'a> {
    /// Without it all is lacking.
    pub(crate) ours: Option<&'a Objects>,
    /// Without it all has to be here.
    pub(crate) theirs: Option<&'a Objects>,
    pub(crate) cache: &'a Cache,
    pub(crate) whole: &'a Whole,
    /// Found damaged when they were read: as if they were not here.
    pub(crate) suspects: &'a HashSet<ObjectId>,
    /// Of the past, found damaged when they were copied: as if they were nowhere.
    pub(crate) lost: &'a HashSet<ObjectId>,
}

#[derive(Default)]
pub(crate) struct Reached {
    /// Children before what names them.
    pub(crate) lacking: Vec<Lacking>,
    /// The trees that are whole once what lacks is here.
    pub(crate) whole: Whole,
    /// What a new tree holds that nobody will see.
    pub(crate) notices: Notices,
    /// It is of the past: nobody will ask for it.
    past: bool,
    blobs: HashSet<ObjectId>,
    kept: usize,
}

/// Lines for the log, not too many.
#[derive(Default)]
pub(crate) struct Notices {
    lines: Vec<String>,
    more: usize,
}

/// A directory on the way down.
struct Frame {
    id: ObjectId,
    name: Vec<u8>,
    tree: Arc<Tree>,
    /// The tree at the same path of a revision that is whole.
    beside: Option<Arc<Tree>>,
    /// It is the remote's, and these are its bytes.
    raw: Option<Vec<u8>>,
    next: usize,
    height: u16,
}

impl Walk<'_> {
    /// From the tree `root` down. `beside` is the root of a revision that is whole: it saves looking at what did not change.
    pub(crate) fn run(&self, root: ObjectId, beside: Option<ObjectId>) -> Result<Reached, WalkError> {
        let mut reached = Reached::default();
        self.extend(root, beside, &mut reached)?;
        Ok(reached)
    }

    /// The same of a tree of the past, beside what was reached so far.
    pub(crate) fn past(&self, root: ObjectId, reached: &mut Reached) -> Result<(), WalkError> {
        reached.past = true;
        self.extend(root, None, reached)
    }

    fn extend(&self, root: ObjectId, beside: Option<ObjectId>, reached: &mut Reached) -> Result<(), WalkError> {
        if self.whole.contains_key(&root) || reached.whole.contains_key(&root) {
            return Ok(());
        }
        let mut frames = vec![self.enter(root, Vec::new(), beside, &[], reached)?];
        while let Some(frame) = frames.last_mut() {
            if let Some(slot) = frame.tree.slots().get(frame.next).copied() {
                frame.next += 1;
                match slot.kind {
                    Kind::Submodule => {}
                    Kind::File | Kind::Executable | Kind::Symlink => self.blob(slot.id, reached)?,
                    Kind::Directory => {
                        if let Some(height) = self.whole.get(&slot.id).or_else(|| reached.whole.get(&slot.id)).copied()
                        {
                            frame.height = frame.height.max(height + 1);
                        } else {
                            let name = frame.tree.name(&slot).to_vec();
                            let beside = frame.beside.as_ref().and_then(|tree| Some(tree.find(&name)?.id));
                            let entered = self.enter(slot.id, name, beside, &frames, reached)?;
                            frames.push(entered);
                        }
                    }
                }
                let deepest = frames.last().map_or(0, |frame| frame.height.into()) + frames.len();
                if deepest > MAX_DEPTH {
                    return Err(WalkError::TooDeep(path(&frames)));
                }
                if reached.blobs.len() + reached.whole.len() > MAX_OBJECTS {
                    return Err(WalkError::TooMany);
                }
                continue;
            }
            let frame = frames.pop().expect("it was there just now");
            if let Some(parent) = frames.last_mut() {
                parent.height = parent.height.max(frame.height + 1);
            }
            reached.whole.insert(frame.id, frame.height);
            if let Some(raw) = frame.raw {
                reached.kept += raw.len();
                let raw = (reached.kept <= KEPT).then_some(raw);
                reached.lacking.push(Lacking { id: frame.id, kind: objs::Kind::Tree, raw });
            }
        }
        Ok(())
    }

    fn enter(
        &self,
        id: ObjectId,
        name: Vec<u8>,
        beside: Option<ObjectId>,
        above: &[Frame],
        reached: &mut Reached,
    ) -> Result<Frame, WalkError> {
        let (raw, lacking) = self.tree(id)?;
        let at = || {
            let above = path(above);
            if name.is_empty() { above } else { format!("{}/{}", above.trim_end_matches('/'), name.escape_ascii()) }
        };
        let tree = Tree::decode(&raw).map_err(|fault| WalkError::Tree { id, path: at(), fault })?;
        if lacking && !reached.past {
            for slot in tree.slots() {
                let name = tree.name(slot);
                if str::from_utf8(name).is_err() {
                    let at = at();
                    reached.notices.push(|| format!("{at}: {} is left out, its name is not UTF-8", Shown::of(name)));
                }
            }
        }
        let tree = Arc::new(tree);
        if lacking && !reached.past {
            // Whoever moves to this revision asks for it next.
            self.cache.remember(id, Remembered::Tree(tree.clone()));
        }
        let beside = beside.and_then(|id| self.beside(id));
        if let Some(tree) = &beside {
            let files = tree.slots().iter().filter(|slot| slot.kind != Kind::Directory);
            reached.blobs.extend(files.map(|slot| slot.id).filter(|id| !self.suspects.contains(id)));
        }
        Ok(Frame { id, name, tree, beside, raw: lacking.then_some(raw), next: 0, height: 0 })
    }

    /// A tree that is whole. One that cannot be read after all only means that there is more to look at.
    fn beside(&self, id: ObjectId) -> Option<Arc<Tree>> {
        if !self.whole.contains_key(&id) {
            return None;
        }
        if let Some(Remembered::Tree(tree)) = self.cache.find(&id) {
            return Some(tree);
        }
        let (_, raw) = self.ours?.whole(&id, DECODE_LIMIT).ok()?;
        Tree::decode(&raw).ok().map(Arc::new)
    }

    /// A tree's bytes, and whether we lack it.
    fn tree(&self, id: ObjectId) -> Result<(Vec<u8>, bool), WalkError> {
        let kind_of = |(kind, raw): (objs::Kind, Vec<u8>)| match kind {
            objs::Kind::Tree => Ok(raw),
            kind => Err(WalkError::Kind(id, kind, objs::Kind::Tree)),
        };
        let ours = match self.ours {
            Some(ours) if !self.suspects.contains(&id) => match ours.header(&id) {
                // Where it is not here it is not looked for among new packs either.
                Ok(None) => Err(ObjectError { id, fault: Fault::Missing }),
                Ok(Some(_)) => ours.whole(&id, DECODE_LIMIT).and_then(|found| verified(id, found)),
                Err(error) => Err(error),
            },
            _ => Err(ObjectError { id, fault: Fault::Missing }),
        };
        let theirs = match (ours, self.theirs) {
            (Ok(found), _) => return Ok((kind_of(found)?, false)),
            (Err(error), None) => return Err(error.into()),
            (Err(_), Some(theirs)) => theirs,
        };
        let found = theirs.whole(&id, DECODE_LIMIT).and_then(|found| verified(id, found))?;
        Ok((kind_of(found)?, true))
    }

    fn blob(&self, id: ObjectId, reached: &mut Reached) -> Result<(), WalkError> {
        if !reached.blobs.insert(id) {
            return Ok(());
        }
        let ours = match self.ours {
            Some(ours) if !self.suspects.contains(&id) => ours.header(&id),
            _ => Ok(None),
        };
        match (ours, self.theirs) {
            (Ok(Some((objs::Kind::Blob, _))), _) => return Ok(()),
            (Ok(Some((kind, _))), _) => return Err(WalkError::Kind(id, kind, objs::Kind::Blob)),
            (Ok(None), None) => return Err(ObjectError { id, fault: Fault::Missing }.into()),
            (Err(error), None) => return Err(error.into()),
            // Of a head it is told when it is copied; a past that lacks it ends before that.
            (_, Some(theirs)) if reached.past => self.is_there(id, theirs)?,
            (_, Some(_)) => {}
        }
        reached.lacking.push(Lacking { id, kind: objs::Kind::Blob, raw: None });
        Ok(())
    }
}

impl Walk<'_> {
    /// # Errors
    /// Where it is known of the blob `id` that it could not be copied from `theirs`.
    fn is_there(&self, id: ObjectId, theirs: &Objects) -> Result<(), WalkError> {
        if self.lost.contains(&id) {
            return Err(ObjectError { id, fault: Fault::damaged("it could not be copied") }.into());
        }
        match theirs.header(&id)? {
            Some((objs::Kind::Blob, _)) => Ok(()),
            Some((kind, _)) => Err(WalkError::Kind(id, kind, objs::Kind::Blob)),
            None => Err(ObjectError { id, fault: Fault::Missing }.into()),
        }
    }
}

impl Notices {
    pub(crate) fn push(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < MAX_NOTICES {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

/// `found`, if it is what `id` names.
pub(crate) fn verified(id: ObjectId, found: (objs::Kind, Vec<u8>)) -> Result<(objs::Kind, Vec<u8>), ObjectError> {
    let fault = match id_of(found.0, &found.1) {
        Ok(actual) if actual == id => return Ok(found),
        Ok(_) => Fault::damaged("its contents are not what its id says"),
        Err(fault) => fault,
    };
    Err(ObjectError { id, fault })
}

/// Where the last of `frames` lies, for a log.
fn path(frames: &[Frame]) -> String {
    let names = frames.iter().skip(1).flat_map(|frame| [b"/", &frame.name[..]].concat());
    let names: Vec<u8> = names.collect();
    if names.is_empty() { "/".to_owned() } else { names.escape_ascii().to_string() }
}
