//! What was kept of the fuzzers' inputs, given once more to the code that they are for: by the unit tests of each crate.

use std::{fs, path::Path};

/// Gives each kept input of the target to `check`, which panics where a property does not hold. A crate that came alone has
/// none.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("tests/fuzz").is_dir());
    let Some(kept) = kept.map(|root| root.join("tests/fuzz/corpus").join(target)) else { return };
    let inputs: Vec<_> =
        fs::read_dir(&kept).expect("each target has a corpus").map(|file| file.unwrap().path()).collect();
    assert!(!inputs.is_empty(), "nothing in {}", kept.display());
    for input in inputs {
        // Seen where the check panics.
        println!("{}", input.display());
        check(&fs::read(input).unwrap());
    }
}
