//! Git's delta: how one object is made from another. All of it is hostile: every number is checked before it is used.

use super::Fault;

/// The sizes at the start of a delta: of what it is applied to, and of what it makes; and where its instructions begin.
pub(super) fn sizes(delta: &[u8]) -> Result<(u64, u64, usize), Fault> {
    let (base, first) = size(delta)?;
    let (result, second) = size(&delta[first..])?;
    Ok((base, result, first + second))
}

/// What an instruction says.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// Of the base.
    Copy {
        offset: u64,
        length: u64,
    },
    Insert(&'a [u8]),
}

impl<'a> Step<'a> {
    /// Of what it makes.
    pub(super) fn length(self) -> u64 {
        match self {
            Self::Copy { length, .. } => length,
            Self::Insert(bytes) => bytes.len() as u64,
        }
    }

    /// What it makes.
    pub(super) fn bytes(self, base: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (offset, length) = match self {
            Self::Insert(bytes) => return Ok(bytes),
            Self::Copy { offset, length } => (offset, length),
        };
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset + length).ok());
        range.and_then(|(from, to)| base.get(from..to)).ok_or_else(outside)
    }
}

/// The instructions, one after the other.
pub(super) fn steps(instructions: &[u8]) -> impl Iterator<Item = Result<Step<'_>, Fault>> {
    let mut rest = instructions;
    std::iter::from_fn(move || {
        let (&instruction, after) = rest.split_first()?;
        rest = after;
        Some(step(instruction, &mut rest))
    })
}

fn step<'a>(instruction: u8, rest: &mut &'a [u8]) -> Result<Step<'a>, Fault> {
    if instruction == 0 {
        return Err(Fault::damaged("its delta has an instruction that does not exist"));
    }
    if instruction & 0x80 == 0 {
        let (bytes, after) = rest.split_at_checked(instruction.into()).ok_or_else(ends_early)?;
        *rest = after;
        return Ok(Step::Insert(bytes));
    }
    let mut number = |bits: std::ops::Range<u32>| -> Result<u64, Fault> {
        let mut number = 0;
        for (position, bit) in bits.enumerate() {
            if instruction & (1 << bit) != 0 {
                let (&byte, after) = rest.split_first().ok_or_else(ends_early)?;
                *rest = after;
                number |= u64::from(byte) << (8 * position);
            }
        }
        Ok(number)
    };
    let offset = number(0..4)?;
    let length = match number(4..7)? {
        0 => 0x1_0000,
        length => length,
    };
    Ok(Step::Copy { offset, length })
}

/// Applies `instructions` to `base`, which makes exactly `size` bytes.
pub(super) fn apply(base: &[u8], instructions: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    let mut result = Vec::with_capacity(size);
    for step in steps(instructions) {
        let bytes = step?.bytes(base)?;
        if bytes.len() > size - result.len() {
            return Err(Fault::damaged("its delta makes more than it says"));
        }
        result.extend_from_slice(bytes);
    }
    if result.len() != size {
        return Err(Fault::damaged("its delta makes less than it says"));
    }
    Ok(result)
}

pub(super) fn outside() -> Fault {
    Fault::damaged("its delta copies from outside its base")
}

fn size(bytes: &[u8]) -> Result<(u64, usize), Fault> {
    let mut size = 0_u64;
    for (position, byte) in bytes.iter().enumerate().take(9) {
        size |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok((size, position + 1));
        }
    }
    Err(Fault::damaged("its delta has no size"))
}

fn ends_early() -> Fault {
    Fault::damaged("its delta ends early")
}

#[cfg(test)]
mod tests {
    use atoll_send_pack::{blob_delta, tree_delta::between};

    use super::*;

    #[test]
    fn a_delta_copies_and_inserts() {
        let delta = [&[11, 9, 0x90, 5, 3][..], b"abc", &[0x91, 10, 1]].concat();
        let (base, result, start) = sizes(&delta).unwrap();
        assert_eq!((base, result, start), (11, 9, 2));
        assert_eq!(apply(b"hello world", &delta[start..], 9).unwrap(), b"helloabcd");
    }

    #[test]
    fn a_hostile_delta_is_refused() {
        for (instructions, size, what) in [
            (&[0x91, 10, 2][..], 2, "its delta copies from outside its base"),
            (&[0xff, 255, 255, 255, 255, 255, 255, 255], 2, "its delta copies from outside its base"),
            (&[0x91], 2, "its delta ends early"),
            (&[5, b'a'], 5, "its delta ends early"),
            (&[0], 0, "its delta has an instruction that does not exist"),
            (&[2, b'a', b'b'], 1, "its delta makes more than it says"),
            (&[2, b'a', b'b'], 3, "its delta makes less than it says"),
        ] {
            assert_eq!(
                apply(b"hello world", instructions, size).unwrap_err().to_string(),
                format!("is damaged: {what}")
            );
        }
        assert_eq!(sizes(&[0x80; 20]).unwrap_err().to_string(), "is damaged: its delta has no size");
        assert_eq!(sizes(&[1]).unwrap_err().to_string(), "is damaged: its delta has no size");
    }

    // What is sent to servers, taken in as what comes from them.
    fn raw(entries: &[(&str, &str, u8)]) -> Vec<u8> {
        let entry =
            |(mode, name, id): &(&str, &str, u8)| [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[*id; 20]].concat();
        entries.iter().flat_map(entry).collect()
    }

    fn applied(base: &[u8], made: &[u8]) -> Vec<u8> {
        let (from, to, start) = sizes(made).unwrap();
        assert_eq!(from, base.len() as u64);
        apply(base, &made[start..], usize::try_from(to).unwrap()).unwrap()
    }

    #[test]
    fn a_change_among_many_entries_is_a_small_delta() {
        let names: Vec<String> = (0..10_000).map(|at| format!("file-{at:05}.txt")).collect();
        let all: Vec<(&str, &str, u8)> = names.iter().map(|name| ("100644", &**name, 1)).collect();
        let base = raw(&all);
        let mut changed = all.clone();
        changed[5_000].2 = 2;
        let (mut more, mut fewer, mut many) = (all.clone(), all.clone(), all.clone());
        more.insert(0, ("40000", "a", 3));
        more.push(("100755", "z", 3));
        fewer.drain(100..200);
        many.iter_mut().step_by(100).for_each(|entry| entry.2 = 9);
        for (new, most) in [(&changed, 150), (&more, 200), (&fewer, 100), (&many, 8_000)] {
            let new = raw(new);
            let made = between(&base, &new).unwrap();
            assert_eq!(applied(&base, &made), new);
            assert!(made.len() < most, "{} bytes", made.len());
        }
    }

    #[test]
    fn whatever_changes_the_delta_makes_it() {
        let sets: [&[(&str, &str, u8)]; 6] = [
            &[],
            &[("100644", "a", 1)],
            &[("100644", "a", 2), ("100644", "a.b", 1), ("40000", "a0", 1)],
            &[("100644", "a.b", 1), ("40000", "a", 1), ("100644", "a0", 1)],
            &[("100644", "a.b", 1), ("40000", "a", 2), ("100644", "a0", 1), ("100644", "b", 1)],
            &[("120000", "b", 1)],
        ];
        for base in sets {
            for new in sets {
                let (base, new) = (raw(base), raw(new));
                if let Some(made) = between(&base, &new) {
                    assert_eq!(applied(&base, &made), new);
                }
            }
        }
        assert_eq!(between(b"no tree", b""), None);
    }

    #[test]
    fn what_changed_of_a_file_is_a_small_delta() {
        let lines: Vec<String> = (0..4_000_u64).map(|at| format!("line {} of it\n", at * at * 7_919)).collect();
        let base = lines.concat().into_bytes();
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            lines.concat().into_bytes()
        };
        let moved = with(&|lines| lines.rotate_left(1_000));
        for (new, most) in [
            (base.clone(), 20),
            (with(&|lines| lines[2_000] = "another\n".into()), 60),
            (with(&|lines| lines.insert(0, "one more\n".into())), 60),
            (with(&|lines| drop(lines.drain(100..3_000))), 60),
            (with(&|lines| lines.extend(lines.clone())), 60),
            (with(&|lines| lines.iter_mut().step_by(100).for_each(|line| line.push('x'))), 1_200),
            (moved, 60),
        ] {
            let made = blob_delta::between(&base, &new).unwrap();
            assert_eq!(applied(&base, &made), new);
            assert!(made.len() <= most, "{} bytes", made.len());
        }
        // Nothing in common, nothing at all, and the same sixteen bytes everywhere.
        let (zeros, longer) = (vec![0; 50_000], vec![0; 70_000]);
        assert_eq!(blob_delta::between(&base, &zeros), None);
        assert_eq!(blob_delta::between(&base, b""), None);
        assert_eq!(blob_delta::between(b"", &base), None);
        let made = blob_delta::between(&zeros, &longer).unwrap();
        assert_eq!(applied(&zeros, &made), longer);
        let limit = vec![1; blob_delta::LIMIT];
        assert_eq!(applied(&limit, &blob_delta::between(&limit, &limit).unwrap()), limit);
        assert_eq!(blob_delta::between(&limit, &vec![1; blob_delta::LIMIT + 1]), None);
    }
}
