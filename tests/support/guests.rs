//! Where the built components are. They are built by `scripts/test`, not from here: a test that built what it tests would
//! hide that the build is broken.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host's package is a folder of the repository")
}

/// `components/NAME.wasm`: the very file that `scripts/run` gives to the host.
pub(crate) fn component(name: &str) -> PathBuf {
    there(root().join(format!("components/{name}.wasm")))
}

/// What `hello` says.
pub(crate) const HELLO: &str = "Hello from a component\n";

/// A guest that does one thing, mostly wrong: an example of `tests/guests`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_host")).ancestors().nth(2).expect("TARGET/debug/host");
    there(target.join(format!("wasm32-wasip2/guest/examples/{name}.wasm")))
}

/// The router of a stranger's, built outside the workspace from what `host wit` writes: `tests/stranger`.
pub(crate) fn stranger() -> PathBuf {
    there(root().join("tests/stranger/target/wasm32-wasip2/release/one.wasm"))
}

/// The same fixture with other words in it, as long as the old ones: another version of it.
pub(crate) fn changed(name: &str, from: &str, to: &str) -> PathBuf {
    assert_eq!(from.len(), to.len(), "a constant keeps its length");
    let mut bytes = fs::read(fixture(name)).expect("it is there");
    let places: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, at)| *at == from.as_bytes()).collect();
    let places: Vec<_> = places.into_iter().map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "{name} has no {from:?}");
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    // By rename: other tests want the same one.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}-{}.wasm", to.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")));
    let fresh = tempfile::NamedTempFile::new_in(folder).expect("cargo's folder for us");
    fs::write(&fresh, bytes).expect("cargo's folder for us");
    fresh.persist(&file).expect("cargo's folder for us");
    file
}

fn there(file: PathBuf) -> PathBuf {
    assert!(file.is_file(), "{} is not built: run scripts/test", file.display());
    file
}
