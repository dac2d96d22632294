//! A repository for people to push to, made where there is none: bare, with a first commit or without one. It is a remote
//! like any other from then on.

use std::{io, path::Path};

use gix::{
    actor::SignatureRef,
    date::Time,
    objs::{
        Tree,
        tree::{Entry, EntryKind},
    },
};

/// Makes a bare repository at `path`, whose `branch` has one commit of `files` (no directories among them) made at `now`
/// (seconds since the Unix epoch), or no commit where there is no file. One that is there is left as it is. Blocks.
pub fn seed(path: &Path, branch: &str, files: &[(&str, &[u8])], now: i64) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    // Under another name until it is whole: a start that is cut short begins again.
    let unfinished = path.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    fill(&unfinished, branch, files, now).map_err(io::Error::other)?;
    std::fs::rename(&unfinished, path)
}

fn fill(
    path: &Path,
    branch: &str,
    files: &[(&str, &[u8])],
    now: i64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = gix::open::Options::isolated();
    let create = gix::create::Options::default();
    let repository =
        gix::ThreadSafeRepository::init_opts(path, gix::create::Kind::Bare, create, options)?.to_thread_local();
    std::fs::write(path.join("HEAD"), format!("ref: refs/heads/{branch}\n"))?;
    if files.is_empty() {
        return Ok(());
    }
    let mut tree = Tree::empty();
    for (name, contents) in files {
        let oid = repository.write_blob(contents)?.detach();
        tree.entries.push(Entry { mode: EntryKind::Blob.into(), filename: (*name).into(), oid });
    }
    tree.entries.sort();
    let tree = repository.write_object(&tree)?.detach();
    let time = format!("{now} +0000");
    let host = SignatureRef { name: "host".into(), email: "host@localhost".into(), time: &time };
    debug_assert!(time.parse::<Time>().is_ok());
    let parents: [gix::ObjectId; 0] = [];
    repository.commit_as(host, host, format!("refs/heads/{branch}"), "A first page", tree, parents)?;
    Ok(())
}
