//! The program, less what the crates beside it do: the manifest, the command line, the control socket, the log, and the
//! one place where all of it is put together.

pub mod allocator;
pub mod app;
pub mod cli;
pub mod control;
pub mod journal;
pub mod manifest;
pub mod problem;
pub mod progress;
pub mod terminal;
pub mod text;
