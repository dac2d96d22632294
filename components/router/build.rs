//! The memory that the guest is born with. A fresh instance decides each request, so it is made small, to be reset cheaply,
//! and large enough that a decision never grows it, which would cost a system call.

/// Room for the deepest nesting that the TOML parser allows (a test of the component nests deeper).
const STACK: u32 = 128 * 1024;
/// Stack, data, and the heap of a decision.
const MEMORY: u32 = 256 * 1024;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK}");
        println!("cargo::rustc-link-arg-cdylib=--initial-memory={MEMORY}");
    }
}
