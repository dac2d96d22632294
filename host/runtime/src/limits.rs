//! What one component may use. Bounds that the manifest can change are in [`Limits`]; the rest are constants that say why.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The largest memory that a table may allow: what the pool reserves addresses for.
pub(crate) const MAX_MEMORY: usize = 4 << 30;
/// Elements of all tables of one instance: function tables of large programs have some ten thousand.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Core instances and tables of one component: adapters add a few to the program's own.
pub(crate) const CORE_INSTANCES: u32 = 32;
/// Memories of one component: each takes addresses of the pool, whatever it is used for.
pub(crate) const MEMORIES: u32 = 4;
/// Host-side resources of one instance. A request in flight needs a dozen; a set of fields may weigh `FIELDS`, so this
/// is what bounds the host's own memory beside a guest.
pub(crate) const RESOURCES: usize = 512;
/// Handles, streams and futures of the component model in one instance.
pub(crate) const HANDLES: usize = 4_096;
/// Bytes of one set of fields, as the host keeps them.
pub(crate) const FIELDS: usize = 64 << 10;
/// Bytes that a guest hands over in one call: the largest body chunk, and room for lists of fields.
pub(crate) const CALL: usize = 2 << 20;
/// Bytes that a guest draws from the random generator in one call.
pub(crate) const RANDOM: u64 = 64 << 10;
/// The most that `repository.contents` hands over.
pub(crate) const CONTENTS: u64 = 1 << 20;
/// A body up to this size is taken off its instance at once.
pub(crate) const GATHER: usize = 1 << 20;
/// Stagings that one instance has open at once.
pub(crate) const STAGINGS: usize = 4;
/// Files that one instance writes at once: the beginning of each is held in memory.
pub(crate) const WRITING: usize = 64;
/// Files written, placed and removed in what one instance has staged and not committed.
pub(crate) const CHANGES: usize = 100_000;
/// Bytes written in it: they lie on the host's disk until they are pushed.
pub(crate) const STAGED: u64 = 1 << 30;
/// Wasm stack of one instance.
pub(crate) const WASM_STACK: usize = 512 << 10;
/// Requests that wait for an instance of one component. More are told to come back.
pub(crate) const WAITING: usize = 1_024;

/// What the manifest says about one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory of one instance, all its memories together.
    pub memory: usize,
    /// To a response's head, then for each wait on a chunk; for a decision, a proof and a start.
    pub timeout: Duration,
    /// For an agent's whole tick.
    pub tick: Duration,
    /// Requests that one instance carries at once.
    pub concurrency: usize,
    /// Instances at once.
    pub instances: usize,
    /// How long an instance that has nothing to do is kept.
    pub idle: Duration,
    /// What may be in flight on an older generation, for how long.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            timeout: Duration::from_secs(5),
            tick: Duration::from_mins(10),
            concurrency: 1,
            instances: 32,
            idle: Duration::from_mins(1),
            drain: Duration::from_mins(5),
        }
    }
}

/// Counts what one store has taken.
#[derive(Debug)]
pub(crate) struct Account {
    memory_limit: usize,
    memory: usize,
    elements: usize,
}

impl Account {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_limit: limits.memory, memory: 0, elements: 0 }
    }

    /// Bytes of linear memory taken so far.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Account {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.memory_limit {
            return Ok(false);
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all memories and tables of a store together, and refused once more after a refusal.
    #[test]
    fn a_store_takes_no_more_than_its_share() {
        let mut account = Account::new(&Limits { memory: 1000, ..Limits::default() });
        for (current, desired, granted) in [(0, 600, true), (0, 401, false), (600, 1000, true), (0, 1, false)] {
            assert_eq!(account.memory_growing(current, desired, None).unwrap(), granted, "{current} to {desired}");
        }
        assert_eq!(account.memory(), 1000);
        for (current, desired, granted) in
            [(0, TABLE_ELEMENTS - 10, true), (0, 11, false), (0, 10, true), (10, 11, false), (0, usize::MAX, false)]
        {
            assert_eq!(account.table_growing(current, desired, None).unwrap(), granted, "{current} to {desired}");
        }
    }
}
