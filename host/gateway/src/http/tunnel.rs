//! Connections that stop being HTTP: Upgrade (RFC 9110, section 7.8) and extended CONNECT (RFC 8441), which an upstream
//! takes as an Upgrade whatever the client spoke. Bytes go both ways until either side closes, nothing moves for as long
//! as a connection may be idle, or the host has to end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use atoll_semantics::hop;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
};
use hyper::{
    ext::Protocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional},
    time::timeout,
};

use crate::http::{fuse::Fuse, inbound::Line, rescue::Fault, watch::Watch};

/// How long what a side said before it broke off may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
const A_MOMENT: Duration = Duration::from_millis(20);

const WEBSOCKET: &str = "websocket";
const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// What a client wants to speak in place of HTTP.
pub(super) struct Wish {
    protocol: HeaderValue,
    /// Whether it asked by CONNECT: a 2xx would be a promise to it.
    pub(super) connect: bool,
    on: OnUpgrade,
}

/// Takes the wish out of a request, which is then a GET like any other. To be called before fields of the connection are
/// taken out.
pub(super) fn wish<B>(request: &mut Request<B>) -> Option<Wish> {
    let connect = request.method() == Method::CONNECT;
    let protocol = if connect {
        let protocol = request.extensions_mut().remove::<Protocol>()?;
        HeaderValue::from_bytes(protocol.as_ref()).ok()?
    } else {
        let one = request.headers().get_all(UPGRADE).iter().nth(1).is_none();
        let named = request.headers().get_all(CONNECTION).iter().any(names_upgrade);
        let usable = request.version() == Version::HTTP_11 && request.method() == Method::GET;
        request.headers().get(UPGRADE).filter(|value| one && named && usable && is_one(value))?.clone()
    };
    if is_http(&protocol) {
        return None;
    }
    if connect {
        *request.method_mut() = Method::GET;
    }
    let on = request.extensions_mut().remove::<OnUpgrade>()?;
    Some(Wish { protocol, connect, on })
}

fn names_upgrade(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// Whether one protocol is named: of several the upstream could choose another than was meant.
fn is_one(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

/// Whether it is HTTP once more (`h2c`, RFC 7540, section 3.2), or TLS (RFC 2817): requests within would go to the upstream
/// past every decision, and say of their client what they like.
fn is_http(protocol: &HeaderValue) -> bool {
    let name = protocol.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default();
    [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

impl Wish {
    /// Puts it into the fields of a request that goes to an upstream.
    pub(super) fn tell(&self, fields: &mut HeaderMap) {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, self.protocol.clone());
        // RFC 8441, section 5: over HTTP/2 there is no such key, and RFC 6455 wants one.
        if self.connect && self.is_websocket() {
            fields.insert(KEY, nonce());
        }
    }

    /// Takes an upstream's answer: with 101 a tunnel is begun, which ends with the connection, and the answer is what the
    /// client has to hear of it. Another answer is left as it is.
    pub(super) fn granted<B>(self, line: &Line, response: &mut Response<B>) -> Result<(), Fault> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Somebody who asked by CONNECT would take it for a tunnel.
            let promise = self.connect && response.status().is_success();
            return if promise { Err(Fault::Broken("it did not switch protocols".into())) } else { Ok(()) };
        }
        let agreed = response.headers().get(UPGRADE).map(HeaderValue::as_bytes);
        if !agreed.is_some_and(|agreed| agreed.eq_ignore_ascii_case(self.protocol.as_bytes())) {
            return Err(Fault::Broken("it switched to a protocol that nobody asked for".into()));
        }
        let upstream = hyper::upgrade::on(&mut *response);
        let head = response.headers_mut();
        hop::strip(head);
        head.remove(CONTENT_LENGTH);
        let mut fuse = None;
        if self.connect {
            head.remove(ACCEPT);
            *response.status_mut() = StatusCode::OK;
            line.tunnels.guard_next(fuse.insert(Fuse::default()).clone());
        } else {
            line.watch.switch();
            head.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.insert(UPGRADE, self.protocol);
        }
        let (client, watch) = (self.on, line.watch.clone());
        // In flight from now on, whenever the answer has gone out.
        let busy = watch.begin();
        line.tunnels.begin(async move {
            if carry(client, upstream, &watch).await == Some(End::Broken) {
                match fuse {
                    Some(fuse) => fuse.blow(),
                    None => watch.break_off(),
                }
            }
            drop(busy);
        });
        Ok(())
    }

    fn is_websocket(&self) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides said so, or nobody said anything.
    Orderly,
    /// One of them broke off, as the other has to learn (RFC 8441, section 5).
    Broken,
}

/// Bytes both ways, to the end. Of the two sides, the upstream's is broken off here.
async fn carry(client: OnUpgrade, upstream: OnUpgrade, watch: &Arc<Watch>) -> Option<End> {
    let (client, upstream) = (client.await.ok()?, upstream.await.ok()?);
    let moved = Arc::new(AtomicU32::new(watch.now()));
    let side = |stream, upstream| Side {
        stream: Some(TokioIo::new(stream)),
        upstream,
        over: Over::Not,
        watch: watch.clone(),
        moved: moved.clone(),
    };
    let (mut client, mut upstream) = (side(client, false), side(upstream, true));
    let end = tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => {
            if copied.is_ok() { End::Orderly } else { End::Broken }
        }
        () = silence(watch, &moved, watch.idle_limit()) => End::Orderly,
    };
    upstream.upstream = end == End::Broken;
    if end == End::Broken {
        // What was said before, while the client's side is still there.
        let _ = timeout(LAST_WORDS, client.flush()).await;
        leave(watch).await;
    }
    Some(end)
}

/// Returns when what was said last has left: others of this connection's task send it, who have their turns meanwhile, and
/// a client may have to take something first.
async fn leave(watch: &Watch) {
    let mut waited = Duration::ZERO;
    while waited < LAST_WORDS && (waited.is_zero() || watch.is_blocked()) {
        tokio::time::sleep(A_MOMENT).await;
        waited += A_MOMENT;
    }
}

/// Returns when nothing has moved for so long.
async fn silence(watch: &Watch, moved: &AtomicU32, idle: Duration) {
    let mut wait = idle;
    loop {
        tokio::time::sleep(wait).await;
        let silent = Duration::from_secs(watch.now().wrapping_sub(moved.load(Ordering::Relaxed)).into());
        if silent >= idle {
            return;
        }
        wait = idle.saturating_sub(silent).max(Duration::from_millis(100));
    }
}

/// One side of a tunnel, which notes when something moves.
struct Side {
    /// There until it is dropped.
    stream: Option<TokioIo<Upgraded>>,
    /// Whether it is an upstream's, which is broken off where it is dropped before its end.
    upstream: bool,
    over: Over,
    watch: Arc<Watch>,
    moved: Arc<AtomicU32>,
}

/// Whether there is more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Not,
    /// It seems not: hyper takes the reset of a stream for its end, and says so to whoever writes, a moment later.
    Perhaps,
    Surely,
}

impl Side {
    fn note(&self) {
        self.moved.store(self.watch.now(), Ordering::Relaxed);
    }

    fn stream(&mut self) -> Pin<&mut TokioIo<Upgraded>> {
        Pin::new(self.stream.as_mut().expect("it was not dropped"))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take().filter(|_| self.upstream) {
            atoll_net::break_off(stream.into_inner());
        }
    }
}

impl AsyncRead for Side {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over == Over::Not {
            let before = buffer.filled().len();
            ready!(self.stream().poll_read(cx, buffer))?;
            if buffer.filled().len() > before {
                self.note();
                return Poll::Ready(Ok(()));
            }
            self.over = Over::Perhaps;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.over == Over::Perhaps {
            if let Poll::Ready(flushed) = self.stream().poll_flush(cx) {
                flushed?;
            }
            self.over = Over::Surely;
            self.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream().poll_write(cx, bytes))?;
        self.note();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

/// 16 random bytes in Base64 (RFC 6455, section 4.1): of the last letter four bits are none of theirs.
fn nonce() -> HeaderValue {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = [0; 22];
    // It keeps caches apart, and no secret: without randomness it is still a key.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut random);
    let mut key: Vec<u8> = random.iter().map(|byte| LETTERS[usize::from(byte & 0x3f)]).collect();
    key[21] = LETTERS[usize::from(random[21] & 0x30)];
    key.extend_from_slice(b"==");
    HeaderValue::from_bytes(&key).expect("letters")
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Version};

    use super::{nonce, wish};

    #[test]
    fn what_is_no_wish() {
        for (method, version, connection, upgrade) in [
            (Method::GET, Version::HTTP_11, "keep-alive", "websocket"),
            (Method::GET, Version::HTTP_10, "upgrade", "websocket"),
            (Method::POST, Version::HTTP_11, "upgrade", "websocket"),
            (Method::GET, Version::HTTP_11, "upgrade", "h2c, websocket"),
            (Method::GET, Version::HTTP_11, "upgrade", ""),
            (Method::GET, Version::HTTP_11, "upgrade, http2-settings", "h2c"),
            (Method::GET, Version::HTTP_11, "upgrade", "H2C"),
            (Method::GET, Version::HTTP_11, "upgrade", "h2"),
            (Method::GET, Version::HTTP_11, "upgrade", "HTTP/2.0"),
            (Method::GET, Version::HTTP_11, "upgrade", "TLS/1.0"),
            (Method::CONNECT, Version::HTTP_11, "upgrade", "websocket"),
        ] {
            let mut request = Request::builder().method(method).version(version);
            request = request.header("connection", connection).header("upgrade", upgrade);
            assert!(wish(&mut request.body(()).unwrap()).is_none(), "{connection} {upgrade}");
        }
    }

    #[test]
    fn a_nonce_is_sixteen_bytes_and_another_each_time() {
        let (one, two) = (nonce(), nonce());
        assert_ne!(one, two);
        let text = one.to_str().unwrap();
        assert!(text.len() == 24 && text.ends_with("=="), "{text}");
        assert!(["A", "Q", "g", "w"].contains(&&text[21..22]), "{text}");
    }
}
