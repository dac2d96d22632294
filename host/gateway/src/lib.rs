//! .

pub mod tls;
