//! Moves refs on a Git server, or deletes them. It opens no connection, runs no program and reads no repository: who calls it
//! hands in a [`Connection`], and the objects that go into a [`Pack`]. Every byte of the server is taken for hostile: it is
//! bounded, and its words are escaped before anybody sees them.
#![doc = include_str!("../README.md")]

pub mod blob_delta;
mod connection;
mod deflate;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod greeting;
mod pack;
pub mod packet;
mod report;
mod session;
pub mod sideband;
#[cfg(test)]
mod tests;
pub mod tree_delta;

pub use gix::{ObjectId, objs::Kind};

pub use self::{
    connection::{Connection, Duplex},
    deflate::Deflate,
    error::{Error, MAX_WORDS, shown},
    pack::{Pack, PackWriter, entry_header, id_of},
    report::Report,
    session::{Rest, Session, Update},
};
