//! Leaves names out of the binary that is shipped: half the zip. Tests and benches of this package keep theirs.

fn main() {
    println!("cargo::rustc-link-arg-bins=-s");
    println!("cargo::rerun-if-changed=build.rs");
}
