//! Unit tests of components under wasmtime, as a host runs them: their imports lead to files, answers and a clock that the
//! test writes down, and what they answer comes back as a value. It listens to nothing, dials nothing, opens no repository,
//! and never decides what a component may do: that is the runtime's.
//!
//! ```no_run
//! use atoll_testkit::{Component, Decision, Request, Tree, World};
//!
//! # fn main() -> Result<(), atoll_testkit::Error> {
//! let site = Component::load("target/wasm32-wasip2/release/site.wasm")?;
//! let site = site.given(World::new().branch("pages", Tree::new().file("index.html", "<h1>x</h1>")))?;
//! let reply = site.handle(&Request::get("/"))?;
//! assert_eq!(reply.status, 200);
//! assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
//! assert_eq!(reply.text(), "<h1>x</h1>");
//!
//! let router = Component::load("target/wasm32-wasip2/release/router.wasm")?;
//! let routes = Tree::new().file("a.test.toml", "upstream = \"app\"");
//! let router = router.given(World::new().branch("routes", routes).upstream("app"))?;
//! assert_eq!(router.validate()?, []);
//! let decision = router.route(&Request::get("/x").authority("a.test"))?;
//! assert!(matches!(&*decision, Decision::Forward(to) if to.upstream == "app"));
//!
//! let agent = Component::load("target/wasm32-wasip2/release/agent.wasm")?.given(World::new())?;
//! assert_eq!(agent.tick(1_700_000_000)?, Some(1_700_003_600));
//! assert_eq!(agent.log(), ["nothing due"]);
//!
//! let site = Tree::new().file("index.html", "old");
//! let builder = Component::load("target/wasm32-wasip2/release/builder.wasm")?.given(World::new().writable("site", site))?;
//! builder.tick(1_700_000_000)?;
//! assert_eq!(builder.published()[0].text("index.html").as_deref(), Some("new"));
//! # Ok(())
//! # }
//! ```
//!
//! A component is compiled once in a process, however many tests load it, and a test takes milliseconds. What is decided
//! elsewhere, a client's certificate or the one form of a path, is not here: a request is given as the gateway hands it over.
//! Authors of other languages write [`cases`].

pub mod cases;
mod component;
mod error;
mod guest;
mod lines;
mod outbound;
mod publication;
mod request;
mod tree;
mod world;

pub use atoll_runtime::{
    Author, Compiler, Decision, Disproof, Failure, FieldChange, Forwarding, Limits, Problem, PublishError, Role,
    Surface, TreeError,
};

pub use component::Component;
pub use error::Error;
pub use guest::{Guest, Reply};
pub use outbound::{Canned, SentRequest};
pub use publication::Commit;
pub use request::Request;
pub use tree::Tree;
pub use world::World;
