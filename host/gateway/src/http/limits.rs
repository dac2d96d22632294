//! What one client may take. Each bound with its reason; the operator's own come with the manifest's table of limits.

use std::time::Duration;

/// Seconds from the end of a handshake to the end of the first head. Browsers open spare connections that stay silent for
/// about as long; nothing of ours is held for them but the connection.
pub(super) const FIRST_HEAD: u32 = 30;

/// Seconds between two requests of a connection, the second one's head included: nginx's default.
pub(super) const KEEP_ALIVE: u32 = 75;

/// Seconds without a byte taken after which a connection that was told to close, and has nothing to answer, is ended.
pub(super) const LEAVE: u32 = 10;

/// Bytes of a request's head: twice what cookies of the usual browsers and proxies come to.
pub(super) const HEAD: usize = 32 * 1024;

/// Bytes that HTTP/1.1 reads ahead of a body's reader, and holds of a response that a client does not take.
pub(super) const HTTP1_BUFFER: usize = 64 * 1024;

/// Streams of one HTTP/2 connection at once: nginx's default, and above the 100 that RFC 9113 asks for.
pub(super) const STREAMS: u32 = 128;

/// Streams that a client may reset before we have looked at them, and those that we reset for its errors: beyond, it gets
/// GOAWAY (rapid reset, CVE-2023-44487; made-you-reset, CVE-2025-8671).
pub(super) const PENDING_RESETS: usize = 20;
pub(super) const ERROR_RESETS: usize = 256;

/// Bytes that HTTP/2 may send us before somebody reads them, a stream and a connection: what ten thousand clients could
/// make us hold, against the speed of one upload (256 KiB a round trip).
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes of a response that HTTP/2 holds for a stream that its client does not read.
pub(super) const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that are gathered before they go to TLS: two records.
pub(super) const CORK: usize = 32 * 1024;

/// Bytes of a body that is taken off an instance at once, and of one that may be remembered.
pub(super) const COLLECTED: u64 = 1024 * 1024;

/// How long a client may pause in a body that somebody waits for: shorter than what an upstream has for its head,
/// so that the slow one is the one that is told.
pub(super) const BODY_PAUSE: Duration = Duration::from_secs(30);

/// How long one request waits for another's answer before it asks for itself.
pub(super) const SHARED_WAIT: Duration = Duration::from_secs(10);
