//! A client's connection that is broken off, so that it can tell: what came over it has no end.

use atoll_net::Socket;
use tokio_rustls::server::TlsStream;

pub trait BreakOff {
    /// When it is dropped next, its client learns that it was broken off.
    fn break_off(&self);
}

impl BreakOff for Socket {
    fn break_off(&self) {
        // Reset, and not closed. Where that fails, it was closed already.
        let _ = self.0.set_zero_linger();
    }
}

/// Without close_notify (RFC 8446, section 6.1), which dropping it does not say; what the kernel has still arrives.
impl<S> BreakOff for TlsStream<S> {
    fn break_off(&self) {}
}

#[cfg(test)]
impl BreakOff for tokio::io::DuplexStream {
    fn break_off(&self) {}
}
