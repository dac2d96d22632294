//! What one client may take. What the operator may set, and the bounds that are nobody's to set, each with its reason.

use std::time::Duration;

/// The manifest's `[limits]`. Times are looked at once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the first byte of a head, and from there to the head's end.
    pub head: Duration,
    /// Between two requests of a connection; without a byte either way, for a tunnel.
    pub idle: Duration,
    /// Bytes a second of a body, either way, in the mean of a window of which every second was spent waiting for the
    /// client. None are asked for where it is 0.
    pub body_rate: u32,
    pub body_window: Duration,
    /// Bytes of a request's head.
    pub head_size: u32,
    /// Fields of a request's head.
    pub fields: u32,
    /// Of one HTTP/2 connection at once.
    pub streams: u32,
    /// Streams that an HTTP/2 client may reset within 30 seconds.
    pub resets: u32,
    /// Frames that carry no request and no body, beyond one for each 256 bytes that we sent, within 30 seconds.
    pub control_frames: u32,
    /// Open connections of one address; of one /64 of IPv6. Trusted proxies are not counted.
    pub address_connections: u32,
    /// Open connections in all.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            // Browsers open spare connections that stay silent for about as long; nothing of ours is held for them but
            // the connection.
            head: Duration::from_secs(30),
            // nginx's default.
            idle: Duration::from_secs(75),
            // The slowest modem brings more; so does a line that comes and goes.
            body_rate: 256,
            body_window: Duration::from_mins(1),
            // Twice what cookies of the usual browsers and proxies come to.
            head_size: 32 * 1024,
            // What hyper reads without an allocation.
            fields: USUAL_FIELDS,
            // nginx's default, and above the 100 that RFC 9113 asks for.
            streams: 128,
            // A hundred pictures given up at once, ten times.
            resets: 1000,
            control_frames: 1000,
            // As many households behind one address, with a connection each.
            address_connections: 1000,
            connections: 20_000,
        }
    }
}

/// Fields that HTTP/1.1 reads on the stack; any other number costs an allocation a request.
pub(super) const USUAL_FIELDS: u32 = 100;

/// Seconds for the handshake, or for a first request, that was begun when all were told to leave.
pub(super) const HELLO: u32 = 2;

/// Seconds without a byte taken after which a connection that was told to close, and has nothing to answer, is ended; and
/// for which what is left of an upload that nobody reads is read away.
pub(super) const LEAVE: u32 = 10;

/// How long, and for how many bytes, a client that broke a limit is listened to, so that what it was told is not lost to
/// a reset.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
pub(super) const DISCARDED: usize = 256 * 1024;

/// Bodies that wait for one client at once, of which each is to be taken at the least rate: with more, a client behind a
/// bad line would be held to as much as it has.
pub(super) const BODIES: u64 = 16;

/// Bytes that HTTP/1.1 reads ahead of a body's reader, and holds of a response that a client does not take.
pub(super) const HTTP1_BUFFER: usize = 64 * 1024;

/// Streams that a client may reset before we have looked at them (as many as it has unless somebody says otherwise: a line
/// that stood still delivers what it held at once), and those that we reset for its errors: beyond, it gets GOAWAY (rapid
/// reset, CVE-2023-44487; made-you-reset, CVE-2025-8671).
pub(super) const PENDING_RESETS: usize = 128;
pub(super) const ERROR_RESETS: usize = 256;

/// Bytes that HTTP/2 may send us before somebody reads them, a stream and a connection: what ten thousand clients could
/// make us hold, against the speed of one upload (128 KiB a round trip), and of a connection's others beside fifteen that
/// nobody reads.
pub(super) const STREAM_WINDOW: u32 = 128 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;

/// Bytes of a response that HTTP/2 holds for a stream that its client does not read.
pub(super) const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that are gathered before they go to TLS: three records.
pub(super) const CORK: usize = 48 * 1024;

/// Bytes of a body that is taken off an instance at once, and of one that may be remembered.
pub(super) const COLLECTED: u64 = 1024 * 1024;

/// Bodies that are encoded as they pass by, at once: 180 MiB at most. Beyond it, they pass as they are.
pub(super) const ENCODERS: usize = 256;

/// Requests under way at once at a URL that is spoken to by HTTP/1.1, each over a connection of its own: a client's quarter
/// is as many as it may have connections.
pub const EXCHANGES: usize = 4096;

/// How long one request waits for another's answer before it asks for itself.
pub(super) const SHARED_WAIT: Duration = Duration::from_secs(10);
