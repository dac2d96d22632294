//! Git's delta: how one object is made from another. All of it is hostile: every number is checked before it is used.

use super::Fault;

/// The sizes at the start of a delta: of what it is applied to, and of what it makes; and where its instructions begin.
pub(super) fn sizes(delta: &[u8]) -> Result<(u64, u64, usize), Fault> {
    let (base, first) = size(delta)?;
    let (result, second) = size(&delta[first..])?;
    Ok((base, result, first + second))
}

/// Applies `instructions` to `base`, which makes exactly `size` bytes.
pub(super) fn apply(base: &[u8], instructions: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    let mut result = Vec::with_capacity(size);
    let mut rest = instructions.iter();
    while let Some(&instruction) = rest.next() {
        let bytes = if instruction & 0x80 != 0 {
            let mut number = |bits: std::ops::Range<u32>| -> Result<usize, Fault> {
                let mut number = 0;
                for (position, bit) in bits.enumerate() {
                    if instruction & (1 << bit) != 0 {
                        let byte = *rest.next().ok_or_else(ends_early)?;
                        number |= usize::from(byte) << (8 * position);
                    }
                }
                Ok(number)
            };
            let offset = number(0..4)?;
            let length = match number(4..7)? {
                0 => 0x1_0000,
                length => length,
            };
            base.get(offset..offset + length).ok_or(Fault::damaged("its delta copies from outside its base"))?
        } else if instruction != 0 {
            let (bytes, after) = rest.as_slice().split_at_checked(instruction.into()).ok_or_else(ends_early)?;
            rest = after.iter();
            bytes
        } else {
            return Err(Fault::damaged("its delta has an instruction that does not exist"));
        };
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
}
