//! The listening side of the host: TLS, HTTP, and what is remembered of answers. It runs no guest itself, and dials nobody
//! itself.

mod complaints;
pub mod http;
pub mod tls;

pub use complaints::Complaints;
