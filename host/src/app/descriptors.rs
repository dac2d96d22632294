//! How many files and sockets the process may have open at once: all that the system lets it have. By itself it takes no more
//! connections than fit; where its manifest wants more, it says so.

use atoll_gateway::http::{EXCHANGES, Limits};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::manifest::Manifest;

/// What is open beside connections: repositories, listeners, the runtime's own, what is being fetched.
const BESIDE: u64 = 1024;

/// Raises the soft limit to the hard one: the soft one is for programs that can't count further (`select`).
pub(super) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, the limit is as it was, and what follows from it is said below.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many connections there may be, and what is to be said where they are more than fit.
pub(super) fn connections(manifest: &Manifest) -> (usize, Option<String>) {
    let wanted = manifest.limits.connections;
    let Some(limit) = getrlimit(Resource::Nofile).current else { return (wanted as usize, None) };
    let (connections, warning) = fit(limit, wanted, manifest.upstreams.len());
    (connections.try_into().unwrap_or(usize::MAX), warning)
}

fn fit(limit: u64, connections: u32, upstreams: usize) -> (u64, Option<String>) {
    let beside = BESIDE + upstreams as u64 * EXCHANGES as u64;
    let wanted = u64::from(connections) + beside;
    if wanted <= limit {
        return (connections.into(), None);
    }
    if connections == Limits::default().connections {
        // Not all upstreams are full at once.
        return (limit.saturating_sub(beside).max(limit / 2).min(connections.into()), None);
    }
    let words = format!(
        "{limit} files and sockets may be open at once, and {connections} `connections`, with what goes along, may come to \
         {wanted}: raise that (LimitNOFILE=, ulimit -n), or lower `connections` in [limits]"
    );
    (connections.into(), Some(words))
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn what_goes_along_with_connections() {
        for (limit, connections, upstreams, taken, told) in [
            (21_024, 20_000, 0, 20_000, false),
            (21_023, 20_000, 0, 19_999, false),
            (21_024, 20_000, 1, 15_904, false),
            (25_120, 20_000, 1, 20_000, false),
            (1_024, 20_000, 9, 512, false),
            (65_536, 20_000, 11, 20_000, false),
            (21_023, 30_000, 0, 30_000, true),
            (21_023, 19_999, 0, 19_999, false),
            (21_023, 19_999, 1, 19_999, true),
            (u64::MAX, u32::MAX, 1000, u32::MAX.into(), false),
        ] {
            let (number, warning) = fit(limit, connections, upstreams);
            assert_eq!((number, warning.is_some()), (taken, told), "{limit} {connections} {upstreams}");
        }
    }
}
