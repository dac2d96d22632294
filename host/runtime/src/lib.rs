//! Components under wasmtime: loading, linking what was granted, instances, decisions and answers, generations and their
//! proof. It listens to nothing, dials nothing and opens no repository: what guests ask for comes through the traits of
//! `tree` and `outbound`.

mod answer;
mod decision;
mod journal;
mod outbound;
mod slot;
mod tree;

pub use answer::{Answer, Body, BodyError, Effects, Failure};
pub use decision::{Decision, FieldChange, Forwarding, Head, under};
pub use journal::{Journal, Level, Line, Source};
pub use outbound::{Nowhere, Outbound, OutboundError};
pub use slot::{Generation, Slot};
pub use tree::{Answer as TreeAnswer, Blob, Branch, Entry, Kind, TreeError};
