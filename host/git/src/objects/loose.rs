//! A loose object: one zlib stream in a file of its own, its header inside. Reading only.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gix::hash::oid;

use super::{Fault, Inflate, Object, open_file};

/// "commit", a space, twenty digits and a NUL.
const HEADER: usize = 32;

/// Where the object lies in the directory `objects`, if it is loose.
pub(super) fn path(objects: &Path, id: &oid) -> PathBuf {
    let hex = id.to_hex().to_string();
    let (first, rest) = hex.split_at(2);
    let mut path = objects.join(first);
    path.push(rest);
    path
}

/// Nothing if there is no such file.
pub(super) fn open(path: &Path) -> Result<Option<Object>, Fault> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(Fault::damaged("its file is empty"));
    }
    let mut inflate = Inflate::new(Arc::new(file), 0, length, length);
    let mut header = [0; HEADER];
    // One by one: what follows the header stays in the stream.
    for length in 0..HEADER {
        if inflate.fill(&mut header[length..=length])? == 0 {
            return Err(Fault::damaged("its header ends early"));
        }
        if header[length] == 0 {
            let (kind, size, _) = gix::objs::decode::loose_header(&header[..=length])
                .map_err(|_| Fault::damaged("its header is not one of an object"))?;
            if size == 0 {
                inflate.finish()?;
            }
            return Ok(Some(Object::stream(kind, size, inflate, false)));
        }
    }
    Err(Fault::damaged("its header has no end"))
}
