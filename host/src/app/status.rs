//! What `host ps` shows.

use super::{front::Front, host::Host};
use crate::control::messages::{BindingStatus, ComponentStatus, Status};

/// A problem a line.
fn lines(error: &atoll_runtime::Disproof) -> String {
    error.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) fn status(host: &Host, front: &Front) -> Status {
    let components = host.components.load();
    let components = components.iter().map(|(name, running)| {
        let serving = running.slot.serving();
        let usage = running.slot.usage();
        let (hits, misses) = front.remembered(running.slot.name());
        ComponentStatus {
            name: name.to_string(),
            role: serving.as_ref().map(|serving| serving.role()).or(running.role).map(|role| role.to_string()),
            digest: serving.as_ref().map(|serving| serving.digest().to_string()),
            revisions: serving.as_ref().map(|serving| serving.revisions().clone()).unwrap_or_default(),
            instances: usage.instances as u64,
            memory: usage.memory as u64,
            requests: usage.requests,
            hits,
            misses,
            traps: usage.traps,
            uptime: serving.as_ref().map_or(0, |serving| serving.since().elapsed().as_secs()),
            draining: running.slot.draining() as u64,
            swapped: running.swapped(),
            error: running.slot.error().map(|error| lines(&error)),
        }
    });
    let bindings = host.bindings.load();
    let bindings = bindings.iter().map(|(name, binding)| BindingStatus {
        name: name.to_string(),
        origin: binding.origin().to_owned(),
        revision: binding.revision(),
        error: binding.error(),
    });
    let error = host.not_reloaded.load().as_deref().cloned();
    let certificates = front.certificates();
    Status { components: components.collect(), bindings: bindings.collect(), certificates, error }
}
