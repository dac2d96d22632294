//! One connection of HTTP/1.1. It has no task of its own: whoever waits for a head or reads a body drives it meanwhile,
//! which saves two wake-ups a request. Between requests nobody drives it, and it is looked at before it is used again.

use std::{
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    Stream,
    alarm::Alarm,
    body::{Outgoing, Progress},
    ear::{Ear, Hear},
    pool::Slot,
};

/// Bytes of a response's head, its trailers, and of what is read of a body at once.
const HEAD: usize = 64 * 1024;

/// Bytes that may come before the head of an answer is whole: some interim ones (RFC 9110, section 15.2), which hyper skips,
/// however many there are.
const INTERIM: usize = 256 * 1024;

/// How long a request's body may go on after the whole of its answer is here.
const LINGER: Duration = Duration::from_secs(30);

pub(crate) struct Http1 {
    sender: SendRequest<Outgoing>,
    driver: Driver,
    line: Arc<Line>,
    /// For one head after the other.
    alarm: Alarm,
}

/// What is known of an exchange below it.
#[derive(Default)]
struct Line {
    /// Bytes from the peer since the request was sent.
    heard: AtomicUsize,
    /// Nothing of what the peer may say yet is waited for.
    over: AtomicBool,
}

type Outcome = Result<Response<hyper::body::Incoming>, Trouble>;

/// Why there is no answer.
pub(crate) enum Trouble {
    Hyper(Box<TrySendError<Request<Outgoing>>>),
    /// Interim answers, and no other.
    Interim,
}

impl Http1 {
    pub(crate) async fn open(stream: Stream) -> Result<Box<Self>, hyper::Error> {
        let line = Arc::<Line>::default();
        let ear = Ear { stream, to: Heard { line: line.clone(), cut: None } };
        let (sender, connection) =
            Builder::new().max_buf_size(HEAD).max_header_size(HEAD).handshake(TokioIo::new(ear)).await?;
        let driver = Driver { connection: Box::pin(connection.with_upgrades()), ended: false };
        Ok(Box::new(Self { sender, driver, line, alarm: Alarm::default() }))
    }

    /// Sends a request and waits for the head of its answer; none where nothing moved for `limit`. After that, and after an
    /// error, the connection is of no use.
    pub(crate) fn exchange<'a>(
        &'a mut self,
        request: Request<Outgoing>,
        limit: Duration,
        progress: Option<&'a Progress>,
    ) -> impl Future<Output = Option<Outcome>> + use<'a> {
        self.line.heard.store(0, Relaxed);
        self.line.over.store(false, Relaxed);
        // Not in the future, which would hold the whole request.
        let answer = self.sender.try_send_request(request);
        let Self { driver, alarm, line, .. } = self;
        async move {
            let mut answer = pin!(answer);
            let answered = pin!(poll_fn(|cx| {
                // An error of the connection comes out of the answer.
                let _ = driver.poll(cx);
                match answer.as_mut().poll(cx) {
                    Poll::Pending if line.heard.load(Relaxed) > INTERIM => Poll::Ready(Err(Trouble::Interim)),
                    answer => answer.map_err(|error| Trouble::Hyper(Box::new(error))),
                }
            }));
            let outcome = alarm.in_time(answered, limit, progress).await?;
            if outcome.as_ref().is_ok_and(|answer| answer.status() == StatusCode::SWITCHING_PROTOCOLS) {
                line.over.store(true, Relaxed);
                // Hands the stream over to whoever waits for the upgrade.
                poll_fn(|cx| driver.poll(cx)).await;
            }
            Some(outcome)
        }
    }

    /// Whether anything came from the peer since the last request was sent.
    pub(crate) fn heard(&self) -> bool {
        self.line.heard.load(Relaxed) > 0
    }

    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.poll(cx)
    }

    /// Whether it can take a request: the last exchange is over, and the peer neither closed it nor said anything more.
    pub(crate) fn is_ready(&mut self) -> bool {
        !self.sender.is_closed()
            && self.poll_drive(&mut Context::from_waker(Waker::noop())).is_pending()
            && self.sender.is_ready()
    }

    /// Back to the pool, the response's body being at its end. Where the request's body is not, its sending goes on.
    pub(crate) fn release(mut self: Box<Self>, slot: Arc<Slot>) {
        self.line.over.store(true, Relaxed);
        if self.sender.is_closed() {
            return;
        }
        if self.poll_drive(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        if self.sender.is_ready() {
            slot.park(self);
            return;
        }
        tokio::spawn(async move {
            let sent = poll_fn(|cx| match self.driver.poll(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => self.sender.poll_ready(cx).map(|ready| ready.is_ok()),
            });
            if timeout(LINGER, sent).await == Ok(true) && self.is_ready() {
                slot.park(self);
            }
        });
    }
}

struct Driver {
    /// hyper's type has no name outside of it.
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    ended: bool,
}

impl Driver {
    /// Ready when the connection has come to its end, and from then on.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended {
            let _ = ready!(self.connection.as_mut().poll(cx));
            self.ended = true;
        }
        Poll::Ready(())
    }
}

/// Ends what an answer's switch of protocols made of a connection, so that its peer can tell that this is no end in order: a
/// reset over TCP; over TLS there is no close_notify, and what was said before arrives.
pub fn break_off(upgraded: Upgraded) {
    let Ok(parts) = upgraded.downcast::<TokioIo<Ear<Heard>>>() else { return };
    if let Stream::Tcp(stream) = parts.io.into_inner().stream {
        // Where that fails, it is closed already.
        let _ = stream.set_zero_linger();
    }
}

/// Counts what the peer said, and hears it out: who answers before it has read all of a request, and closes, may be heard
/// behind what our writing says of that.
struct Heard {
    line: Arc<Line>,
    /// Why nothing more can be written.
    cut: Option<io::Error>,
}

impl Hear for Heard {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line.heard.fetch_add(bytes.len(), Relaxed);
        Ok(())
    }

    fn poll_cut(&mut self, error: io::Error) -> Poll<io::Error> {
        let closed = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        if !closed || self.line.over.load(Relaxed) {
            return Poll::Ready(error);
        }
        // Whoever reads comes to the end of it, which wakes us.
        self.cut.get_or_insert(error);
        Poll::Pending
    }

    fn ended(&mut self) -> Option<io::Error> {
        self.line.over.store(true, Relaxed);
        self.cut.take()
    }
}
