//! Making Git's delta (gitformat-pack(5), "Deltified representation") from one tree to another: entries that both have are
//! copied, the others inserted. So a commit of one file sends a few bytes of a directory of ten thousand. For trees alone,
//! which are sorted: nothing is searched for.

use gix::{
    hash::Kind as HashKind,
    objs::{TreeRefIter, tree::name_order},
};

/// The most that one instruction copies, as Git makes them.
const COPY: usize = 0x1_0000;

/// The most that one instruction inserts.
const INSERT: usize = 0x7f;

/// What makes `new` of `base`; nothing where one of them is no tree, or the delta saves nothing.
pub fn between(base: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (entries(base)?, entries(new)?);
    let mut delta = Vec::new();
    size(&mut delta, base.len());
    size(&mut delta, new.len());
    // Bytes of `base` that are copied and of `new` that are inserted next; one of them is empty.
    let (mut copied, mut inserted) = (0..0, 0..0);
    let mut candidates = from.iter().peekable();
    for entry in &to {
        while candidates.next_if(|before| before.order(entry).is_lt()).is_some() {}
        let (bytes, same) = (&new[entry.start..entry.end], candidates.next_if(|before| before.order(entry).is_eq()));
        match same.filter(|same| base[same.start..same.end] == *bytes) {
            Some(same) if !copied.is_empty() && copied.end == same.start => copied.end = same.end,
            Some(same) => {
                insert(&mut delta, &new[std::mem::take(&mut inserted)]);
                copy(&mut delta, std::mem::replace(&mut copied, same.start..same.end));
            }
            None => {
                copy(&mut delta, std::mem::take(&mut copied));
                inserted.start = if inserted.is_empty() { entry.start } else { inserted.start };
                inserted.end = entry.end;
            }
        }
    }
    insert(&mut delta, &new[inserted]);
    copy(&mut delta, copied);
    (delta.len() < new.len()).then_some(delta)
}

/// Where an entry lies in its tree.
struct Lying<'a> {
    name: &'a [u8],
    is_tree: bool,
    start: usize,
    end: usize,
}

impl Lying<'_> {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        name_order(self.name, self.is_tree, other.name, other.is_tree)
    }
}

fn entries(raw: &[u8]) -> Option<Vec<Lying<'_>>> {
    let mut start = 0;
    TreeRefIter::from_bytes(raw, HashKind::Sha1)
        .map(|entry| {
            let entry = entry.ok()?;
            let mode = raw[start..].iter().position(|byte| *byte == b' ')?;
            let end = start + mode + 1 + entry.filename.len() + 1 + entry.oid.as_bytes().len();
            let lies = Lying { name: entry.filename, is_tree: entry.mode.is_tree(), start, end };
            start = end;
            Some(lies)
        })
        .collect()
}

pub(crate) fn insert(delta: &mut Vec<u8>, bytes: &[u8]) {
    for part in bytes.chunks(INSERT) {
        delta.push(u8::try_from(part.len()).expect("at most INSERT"));
        delta.extend_from_slice(part);
    }
}

pub(crate) fn copy(delta: &mut Vec<u8>, mut range: std::ops::Range<usize>) {
    while !range.is_empty() {
        let length = range.len().min(COPY);
        let at = delta.len();
        delta.push(0x80);
        let length_said = if length == COPY { 0 } else { length };
        let numbers = [(range.start, 0..4), (length_said, 4..7)];
        for (number, bits) in numbers {
            for (position, bit) in bits.enumerate() {
                let byte = number.to_le_bytes()[position];
                if byte != 0 {
                    delta[at] |= 1 << bit;
                    delta.push(byte);
                }
            }
        }
        range.start += length;
    }
}

pub(crate) fn size(delta: &mut Vec<u8>, mut size: usize) {
    loop {
        let bits = size.to_le_bytes()[0] & 0x7f;
        size >>= 7;
        if size == 0 {
            delta.push(bits);
            return;
        }
        delta.push(bits | 0x80);
    }
}
