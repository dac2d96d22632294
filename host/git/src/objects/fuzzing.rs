//! What the fuzzers call: what must hold of objects, whatever a remote sends as such.

use atoll_send_pack::{blob_delta, tree_delta};
use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    odb::pack::data::entry::Header,
    zlib::stream::deflate::FlushCompress,
};

use super::{DECODE_LIMIT, Incoming, Objects, delta, id_of, intake::Deflate};
use crate::{disk::Files, tree::Tree};

/// A byte that says how long a base is, the base, and a delta.
pub fn delta(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (base, delta) = rest.split_at(rest.len().min(usize::from(*length)));
    let Ok((_, size, start)) = delta::sizes(delta) else { return };
    // Whoever applies one refused it before, were it too large.
    let Some(size) = usize::try_from(size).ok().filter(|size| *size <= 1 << 20) else { return };
    if let Ok(made) = delta::apply(base, &delta[start..], size) {
        assert_eq!(made.len(), size);
    }
}

/// Two bytes that say how long a tree, or a file, is, the tree, and another.
pub fn tree(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let (base, new) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*length))));
    decoded(base);
    decoded(new);
    for (base, new) in [(base, new), (new, base)] {
        for made in [tree_delta::between(base, new), blob_delta::between(base, new)].into_iter().flatten() {
            let (from, to, start) = delta::sizes(&made).expect("we made it");
            assert_eq!((from, to), (base.len() as u64, new.len() as u64));
            assert_eq!(delta::apply(base, &made[start..], new.len()).expect("we made it"), new);
            assert!(made.len() < new.len());
        }
    }
}

fn decoded(raw: &[u8]) {
    let Ok(tree) = Tree::decode(raw) else { return };
    assert!(tree.weight() <= 2 * raw.len() + size_of::<Tree>(), "{} bytes take {}", raw.len(), tree.weight());
    for slot in tree.slots() {
        let name = tree.name(slot);
        let found = tree.find(name).expect("it is there");
        assert_eq!((found.id, found.kind), (slot.id, slot.kind));
        assert!(!matches!(name, b"" | b"." | b"..") && !name.eq_ignore_ascii_case(b".git"));
        assert!(!name.contains(&b'/') && !name.contains(&0));
    }
}

/// A pack as it is; or what one is made of, so that its sums and compressed bytes are right and the rest is looked at: for
/// each entry what it is, what it is made from or how it lies, its length and its contents.
pub fn pack(bytes: &[u8]) {
    let ours = tempfile::tempdir().expect("a place");
    let ours = (Objects::open(ours.path().to_owned(), Files::default()).expect("an empty directory"), ours);
    if bytes.starts_with(b"PACK") {
        drop(Incoming::receive(bytes, &ours.0));
        return;
    }
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let (mut count, mut offsets, mut objects) = (0, Vec::new(), Vec::new());
    let mut rest = bytes;
    while let [kind, what, length, tail @ ..] = rest {
        let (contents, tail) = tail.split_at(tail.len().min((*length).into()));
        rest = tail;
        let header = match kind % 8 {
            1 => Header::Commit,
            2 => Header::Tree,
            3 => Header::Blob,
            4 => Header::Tag,
            6 => {
                let base = offsets.get(usize::from(*what)).copied().unwrap_or_default();
                Header::OfsDelta { base_distance: (pack.len() - base) as u64 }
            }
            7 => {
                let base = objects.get(usize::from(*what)).map(|(_, id, _)| *id);
                Header::RefDelta { base_id: base.unwrap_or(ObjectId::null(HashKind::Sha1)) }
            }
            // An entry, or a part of one, that is what it is.
            other => {
                count += u32::from(other == 0);
                pack.extend_from_slice(contents);
                continue;
            }
        };
        count += 1;
        offsets.push(pack.len());
        let size = contents.len() as u64;
        let lies = header.as_kind().filter(|_| what & 0x80 != 0).map_or(0, |_| u64::from(what & 0x7f));
        header.write_to(size + lies, &mut pack).expect("memory takes what is written");
        if let Some(kind) = header.as_kind() {
            objects.push((kind, id_of(kind, contents).expect("no collision"), contents));
        }
        let mut deflate = Deflate::new();
        deflate.begin();
        deflate.part(contents, FlushCompress::Finish, &mut pack).expect("memory takes what is written");
    }
    pack[8..12].copy_from_slice(&u32::to_be_bytes(count));
    let mut hash = hasher(HashKind::Sha1);
    hash.update(&pack);
    pack.extend_from_slice(hash.try_finalize().expect("no collision").as_bytes());
    if let Ok(incoming) = Incoming::receive(&pack[..], &ours.0) {
        for (kind, id, contents) in objects {
            let (found, bytes) = incoming.objects().whole(&id, DECODE_LIMIT).expect("it was taken in");
            assert_eq!((found, &bytes[..]), (kind, contents));
        }
    }
    let left = ours.1.path().read_dir().expect("it is there").count();
    assert_eq!(left, 0, "something stays where it was taken in");
}
