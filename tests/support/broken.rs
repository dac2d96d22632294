//! Components that no tool would write, byte by byte.

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Components in components, this deep.
pub(crate) fn nested_components(depth: usize) -> Vec<u8> {
    // From the inside out, written backwards, so that this is linear.
    let mut reversed: Vec<u8> = COMPONENT.iter().rev().copied().collect();
    for _ in 0..depth {
        let size = leb(reversed.len());
        reversed.extend(size.iter().rev());
        reversed.push(4);
        reversed.extend(COMPONENT.iter().rev());
    }
    reversed.reverse();
    reversed
}

/// One component whose only type is a component type that holds another, this deep: three bytes a level.
pub(crate) fn nested_types(depth: usize) -> Vec<u8> {
    let mut types = vec![1];
    for _ in 0..depth {
        types.extend([0x41, 1, 1]);
    }
    types.extend([0x41, 0]);
    let mut bytes = COMPONENT.to_vec();
    bytes.push(7);
    bytes.extend(leb(types.len()));
    bytes.extend(types);
    bytes
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

#[test]
fn the_sizes_are_those_that_were_seen_to_hurt() {
    assert_eq!(nested_components(1), [COMPONENT, &[4, 8], COMPONENT].concat());
    assert!((90_000..110_000).contains(&nested_components(8_000).len()));
    assert_eq!(nested_types(1), [COMPONENT, &[7, 6, 1, 0x41, 1, 1, 0x41, 0]].concat());
    assert!((6_000..6_100).contains(&nested_types(2_000).len()));
    assert_eq!(leb(300), [0xac, 2]);
}
