//! Git: on this machine's disk a bare repository of ours for each binding, served from there without a checkout; and
//! bringing a remote's branch into it, wherever that is, and a commit back. It knows nothing of guests or of the manifest. It
//! writes in the state's `git/` directory, and in a local repository that is pushed to, runs no program, and takes every byte of a remote for hostile.

mod cache;
mod disk;
mod fetch;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod history;
mod objects;
mod origin;
mod pace;
mod push;
mod refs;
mod remote;
mod repository;
mod seed;
mod smart;
mod snapshot;
mod staging;
mod store;
mod taking;
#[cfg(test)]
mod tests;
mod tidy;
mod transport;
mod tree;
mod walk;
mod watch;
mod webhook;

pub use atoll_send_pack::Error as ProtocolError;
pub use gix::ObjectId;

pub use fetch::{FetchError, Fetched};
pub use follow::{Event, Follower, OpenError};
pub use history::Depth;
pub use objects::{Fault, IntakeError, ObjectError, PackError};
pub use origin::Standing;
pub use push::PushError;
pub use remote::{Location, NoBranch, Remote, directory::DirectoryError, local::LocalError};
pub use repository::{KeepError, Repository, Revision};
pub use seed::seed;
pub use smart::SmartError;
pub use snapshot::{BlobReader, Entry, ReadError, Snapshot};
pub use staging::{Author, Committed, PublishError, StageError, Staging, Upload, Uploads};
pub use store::{Store, StoreError};
pub use tidy::TidyError;
pub use transport::{Daemon, Http, Patience, Server, ServerError, Service, Ssh, check_token};
pub use tree::{Kind, MAX_ENTRIES, TreeFault};
pub use walk::{MAX_OBJECTS, WalkError};
pub use watch::Watcher;
pub use webhook::{claims, knows};
