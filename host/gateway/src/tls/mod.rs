//! The first thing that a client meets: certificates by name, handshakes, and nothing of HTTP beyond telling plain HTTP
//! on this port what to do. It never calls ACME: whoever has a new certificate or a challenge puts it into the resolver
//! or the table, and the next handshake finds it there.

mod accept;
mod certificate;
mod challenges;
mod hello;
mod keys;
mod local_ca;
mod resolver;
#[cfg(test)]
mod testing;
mod tickets;

pub use accept::{AcceptError, Acceptor, Options, Protocol, Secured};
pub use certificate::{Certificate, CertificateError};
pub use challenges::{ChallengeError, Challenges};
pub use keys::{KeyError, Source, pair};
pub use local_ca::{Admits, LocalCa, LocalCaError};
pub use resolver::Resolver;
pub use tickets::Tickets;
