//! The program, less what the crates beside it do: the manifest.

pub mod manifest;
pub mod problem;
pub mod text;
