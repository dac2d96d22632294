//! The crate against real git: scripts make the remotes, `git fsck` and `git cat-file` are the oracle.

mod bounds;
mod deletions;
mod depths;
mod directories;
mod faults;
mod fetches;
mod following;
mod full;
mod hostile;
mod kills;
mod made;
mod packs;
mod push_doubts;
mod push_faults;
mod push_hostile;
mod push_web;
mod pushes;
mod server;
mod servers;
mod snapshots;
mod soak;
mod support;
mod taken;
mod tidying;
mod trees;
mod web;
