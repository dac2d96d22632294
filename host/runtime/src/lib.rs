//! Components under wasmtime: loading, linking what was granted, instances, decisions and answers, generations and their
//! proof. It listens to nothing, dials nothing and opens no repository: what guests ask for comes through the traits of
//! `tree`, `publication` and `outbound`.

mod agent;
mod answer;
mod ask;
mod bindings;
mod body;
mod capability;
mod code;
mod compiling;
mod counts;
mod crowd;
mod ctx;
mod decision;
mod decisions;
mod engine;
mod failure;
mod generation;
mod grant;
mod journal;
mod keeper;
mod limits;
mod outbound;
mod pool;
mod proof;
mod publication;
mod queue;
mod role;
mod router;
mod service;
mod slot;
mod streamed;
mod table;
mod tree;
mod turns;
mod upload;

pub use answer::{Answer, Body, BodyError, Effects, Failure};
pub use capability::upstreams::Upstream;
pub use code::{Code, Compiler, Digest, LoadError};
pub use compiling::compile_as_child;
pub use counts::Held;
pub use ctx::WallClock;
pub use decision::{Decision, FieldChange, Forwarding, Head, under};
pub use engine::{Engine, EngineError};
pub use generation::{Generation, Inputs, Usage};
pub use grant::{GrantError, check_grants, needed_grants};
pub use journal::{Journal, Level, Line, Source};
pub use limits::Limits;
pub use outbound::{Nowhere, Outbound, OutboundError};
pub use proof::{Disproof, Problem, Runtime};
pub use publication::{
    Author, Contents, MAX_TARGET, Publication, PublishError, Published, Staging, check_commit, check_path, check_place,
};
pub use role::{Role, Surface, Wasi};
pub use service::Isolation;
pub use slot::{Change, Draft, Given, Ledger, Offered, Prepared, Slot, Start};
pub use table::{GrantedBranch, Mode, Table};
pub use tree::{Answer as TreeAnswer, Blob, Branch, Entry, Kind, TreeError};
