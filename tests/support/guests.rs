//! Where the built components are. They are built by `scripts/test`, not from here: a test that built what it tests would
//! hide that the build is broken.

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host's package is a folder of the repository")
}

/// `components/NAME.wasm`: the very file that `scripts/run` gives to the host.
pub(crate) fn component(name: &str) -> PathBuf {
    there(root().join(format!("components/{name}.wasm")))
}

/// A guest that does one thing, mostly wrong: an example of `tests/guests`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_host")).ancestors().nth(2).expect("TARGET/debug/host");
    there(target.join(format!("wasm32-wasip2/guest/examples/{name}.wasm")))
}

fn there(file: PathBuf) -> PathBuf {
    assert!(file.is_file(), "{} is not built: run scripts/test", file.display());
    file
}
