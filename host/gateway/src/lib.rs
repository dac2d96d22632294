//! Everything that faces a client: TLS, HTTP, and the answers that are remembered. It reads no manifest, opens no
//! repository and orders no certificate.

pub mod http;
pub mod tls;
