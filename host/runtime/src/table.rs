//! A component's table of the manifest, as far as the runtime cares: what it was granted and how much it may use.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Digest, Limits, Outbound, Publication};

/// What may be done with a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    Write,
}

/// A branch that a component may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedBranch {
    /// The manifest's name for it; the component may know it by another.
    pub binding: String,
    pub mode: Mode,
}

/// One component's table. Two tables with the same `hash` grant the same things.
#[derive(Clone)]
pub struct Table {
    pub hash: Digest,
    pub limits: Limits,
    pub env: Vec<(String, String)>,
    /// By the name that the component knows.
    pub git: BTreeMap<String, GrantedBranch>,
    /// What writes to those that are granted for it, by the same name.
    pub publications: BTreeMap<String, Arc<dyn Publication>>,
    pub outbound: Arc<dyn Outbound>,
    /// A path that must answer below 400 before a new generation serves.
    pub probe: Option<String>,
}
