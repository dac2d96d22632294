//! How many files and sockets the process may have open at once: all that the system lets it have, and a word where that is
//! less than its limits on connections come to.

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

/// What is to be said where all that a manifest allows does not fit.
pub(super) fn warning(manifest: &Manifest) -> Option<String> {
    fits(getrlimit(Resource::Nofile).current?, manifest.limits.connections, manifest.upstreams.len())
}

fn fits(limit: u64, connections: u32, upstreams: usize) -> Option<String> {
    let wanted = u64::from(connections) + BESIDE + upstreams as u64 * atoll_gateway::http::EXCHANGES as u64;
    (wanted > limit).then(|| {
        format!(
            "{limit} files and sockets may be open at once, and {connections} `connections`, with what goes along, may come \
             to {wanted}: raise that (LimitNOFILE=, ulimit -n), or lower `connections` in [limits]"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn what_goes_along_with_connections() {
        for (limit, connections, upstreams, fit) in [
            (21_024, 20_000, 0, true),
            (21_023, 20_000, 0, false),
            (21_024, 20_000, 1, false),
            (25_120, 20_000, 1, true),
            (u64::MAX, u32::MAX, 1000, true),
        ] {
            assert_eq!(fits(limit, connections, upstreams).is_none(), fit, "{limit} {connections} {upstreams}");
        }
    }
}
