//! Unit tests of components under wasmtime, as a host runs them: their imports lead to files, answers and a clock that the
//! test writes down, and what they answer comes back as a value. It listens to nothing, dials nothing, opens no repository,
//! and never decides what a component may do: that is the runtime's.

pub mod cases;
mod component;
mod error;
mod guest;
mod lines;
mod outbound;
mod request;
mod tree;
mod world;

pub use atoll_runtime::{
    Decision, Disproof, Failure, FieldChange, Forwarding, Limits, Problem, Role, Surface, TreeError,
};

pub use component::Component;
pub use error::Error;
pub use guest::{Guest, Reply};
pub use outbound::{Canned, SentRequest};
pub use request::Request;
pub use tree::Tree;
pub use world::World;
