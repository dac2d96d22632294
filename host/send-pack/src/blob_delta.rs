//! Making Git's delta (gitformat-pack(5), "Deltified representation") from one file to another: what they have in common in
//! runs of sixteen bytes and more is copied, the rest inserted. One look at each place, so that it costs as much for any two.

use crate::tree_delta::{copy, insert, size};

/// The longest that base and file may be, in bytes: what is looked up in takes four bytes for each sixteen of the base.
pub const LIMIT: usize = 1 << 20;

/// The least that is worth an instruction: as Git has it.
const BLOCK: usize = 16;

/// What makes `new` of `base`; nothing where one of them is longer than [`LIMIT`], or the delta takes more than half of what
/// it makes: text shrinks by as much without one.
pub fn between(base: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    if base.len() > LIMIT || new.len() > LIMIT {
        return None;
    }
    let blocks = Blocks::of(base);
    let mut delta = Vec::new();
    size(&mut delta, base.len());
    size(&mut delta, new.len());
    // What is inserted next begins here.
    let (mut pending, mut at) = (0, 0);
    while let Some(block) = new.get(at..at + BLOCK) {
        let Some(start) = blocks.find(base, block) else {
            at += 1;
            continue;
        };
        let same = |(one, other): &(&u8, &u8)| one == other;
        let before = base[..start].iter().rev().zip(new[pending..at].iter().rev()).take_while(same).count();
        let after = base[start..].iter().zip(&new[at..]).take_while(same).count();
        insert(&mut delta, &new[pending..at - before]);
        copy(&mut delta, start - before..start + after);
        at += after;
        pending = at;
        if delta.len() > new.len() / 2 {
            return None;
        }
    }
    insert(&mut delta, &new[pending..]);
    (delta.len() <= new.len() / 2).then_some(delta)
}

/// Where the blocks of a base begin: of those that fall together, the first.
struct Blocks {
    /// By a block's hash, one more than its number.
    places: Vec<u32>,
    shift: u32,
}

impl Blocks {
    fn of(base: &[u8]) -> Self {
        let bits = (base.len() / BLOCK * 2).max(2).next_power_of_two().trailing_zeros();
        let mut blocks = Self { places: vec![0; 1 << bits], shift: 64 - bits };
        for (number, block) in (1..).zip(base.chunks_exact(BLOCK)) {
            let place = blocks.place(block);
            if blocks.places[place] == 0 {
                blocks.places[place] = number;
            }
        }
        blocks
    }

    fn find(&self, base: &[u8], block: &[u8]) -> Option<usize> {
        let number = usize::try_from(self.places[self.place(block)].checked_sub(1)?).ok()?;
        let start = number * BLOCK;
        (base[start..start + BLOCK] == *block).then_some(start)
    }

    fn place(&self, block: &[u8]) -> usize {
        let (one, other) = block.split_at(BLOCK / 2);
        let half = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let mixed = (half(one).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ half(other)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        usize::try_from(mixed >> self.shift).expect("as many bits as there are places")
    }
}
