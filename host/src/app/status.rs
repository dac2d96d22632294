//! What `host ps` shows.

use std::time::Instant;

use atoll_gateway::http::Upstream;

use super::{front::Front, host::Host};
use crate::control::messages::{BindingStatus, ComponentStatus, Status, UpstreamStatus};

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
    let (listening, upstreams) = (front.urls(), upstreams(front, Instant::now()));
    let error = host.not_reloaded.load().as_deref().cloned();
    let certificates = front.certificates();
    let (components, bindings) = (components.collect(), bindings.collect());
    Status { listening, components, bindings, upstreams, certificates, error }
}

fn upstreams(front: &Front, now: Instant) -> Vec<UpstreamStatus> {
    let mut upstreams = Vec::new();
    for (name, upstream) in &*front.installed() {
        let Upstream::Url(upstream) = upstream else { continue };
        for place in &*upstream.places {
            let (refusals, until) = place.trouble().unwrap_or((0, now));
            let left = until.saturating_duration_since(now);
            let rests = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            upstreams.push(UpstreamStatus {
                name: name.to_string(),
                url: place.url(),
                refusals: refusals.into(),
                rests,
            });
        }
    }
    upstreams
}
