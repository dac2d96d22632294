//! The network's side of the house: listening, and one way to reach a peer, whoever asks. Git transports, upstreams
//! and guests' requests all go through `dial`, and so does the check on the address that is dialled. It knows no
//! component and no repository, and decides nothing about who may ask for what.

mod alarm;
mod basic;
mod body;
mod client;
mod dial;
mod ear;
mod egress;
mod form;
pub mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guess;
pub mod heads;
mod http1;
mod http2;
mod interim;
mod listen;
mod origin;
mod permits;
mod pool;
mod proxies;
mod proxy;
mod resolve;
mod secret;
mod shared;
mod socket;
pub mod ssh;
mod stream;
mod target;
#[cfg(test)]
mod testing;
mod tls;
mod tunnel;
mod whole;

pub use basic::basic;
pub use body::{BoxError, Incoming};
pub use client::{Client, Options, SendError, with_causes};
pub use dial::{DialError, Dialler};
pub use egress::{Egress, is_public};
pub use guess::{Guessable, drawn};
pub use http1::break_off;
pub use listen::{Accepted, BindError, InheritError, Inherited, Listener, bind};
pub use origin::{Origin, OriginError, Protocol};
pub use permits::{Permit, Permits};
pub use proxies::{Proxies, ProxiesError};
pub use proxy::{ProxyError, proxied};
pub use resolve::{Lookup, Resolve, SystemResolver};
pub use secret::Secret;
pub use socket::Socket;
pub use stream::Stream;
pub use target::{Host, Place, Target};
pub use tls::{HTTP, HTTP1, RootsError, SystemRoots, Tls};
pub use tunnel::Proxy;
