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

/// `component`, and beside what it has, a module that has a table of one element grow by `elements` at each start, and
/// traps unless it `may`.
pub(crate) fn growing_a_table(component: &[u8], elements: usize, may: bool) -> Vec<u8> {
    let mut code = vec![0, 0xd0, 0x70, 0x41];
    // It is signed: the next bit must be nought.
    let mut number = leb(elements);
    if number.last().is_some_and(|last| last & 0x40 != 0) {
        *number.last_mut().expect("it has a byte") |= 0x80;
        number.push(0);
    }
    code.extend(number);
    // table.grow; whether that is -1, or is not; if so, unreachable.
    code.extend([0xfc, 15, 0, 0x41, 0x7f, if may { 0x46 } else { 0x47 }, 0x04, 0x40, 0x00, 0x0b, 0x0b]);
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x04\x04\x01\x70\0\x01\x08\x01\0\x0a".to_vec();
    module.extend(leb(code.len() + 2));
    module.push(1);
    module.extend(leb(code.len()));
    module.extend(code);
    let mut bytes = component.to_vec();
    let modules = sections(component).filter(|section| *section == 1).count();
    bytes.push(1);
    bytes.extend(leb(module.len()));
    bytes.extend(module);
    let instance = [&[1, 0][..], &leb(modules), &[0]].concat();
    bytes.push(2);
    bytes.extend(leb(instance.len()));
    bytes.extend(instance);
    bytes
}

/// The kinds of its sections, one by one.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[COMPONENT.len()..];
    std::iter::from_fn(move || {
        let (kind, mut after) = rest.split_first()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let (byte, next) = after.split_first().expect("a length ends");
            after = next;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = &after[length..];
        Some(*kind)
    })
}

/// One that takes the compiler minutes: `functions` of many loops over many variables.
pub(crate) fn slow(functions: usize) -> Vec<u8> {
    const LOOPS: usize = 2_000;
    const VARIABLES: usize = 1_000;
    let mut seed = 1_usize;
    let mut variable = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        leb((seed >> 33) % VARIABLES)
    };
    // Of type i64.
    let mut body = [&[1][..], &leb(VARIABLES), &[0x7e]].concat();
    for _ in 0..LOOPS {
        // loop: c = a * b; again while the lower half of d is not nought.
        let (a, b, c, d) = (variable(), variable(), variable(), variable());
        body.extend(
            [&[0x03, 0x40, 0x20], &*a, &[0x20], &b, &[0x7e, 0x21], &c, &[0x20], &d, &[0xa7, 0x0d, 0, 0x0b]].concat(),
        );
    }
    body.push(0x0b);
    let body = [leb(body.len()), body].concat();
    let count = leb(functions);
    let types = [&*count, &vec![0; functions]].concat();
    let code = [&*count, &body.repeat(functions)].concat();
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
    for (kind, section) in [(3, types), (10, code)] {
        module.extend([&[kind], &*leb(section.len()), &section].concat());
    }
    [COMPONENT, &[1], &leb(module.len()), &module].concat()
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
    assert_eq!(sections(&nested_components(3)).collect::<Vec<_>>(), [4]);
}
