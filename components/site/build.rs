//! The memory that the guest is born with: small, since many instances may live at once.

const STACK: u32 = 64 * 1024;
/// Stack, data, and the heap of a site without a long list of rules.
const MEMORY: u32 = 192 * 1024;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK}");
        println!("cargo::rustc-link-arg-cdylib=--initial-memory={MEMORY}");
    }
}
