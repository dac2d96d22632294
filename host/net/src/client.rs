//! HTTP over the dialler: one request to one origin. It follows no redirect, keeps no cookie, caches nothing and strips
//! nothing: what the message says beyond framing, `Host` and the form of the target is its sender's business.

use std::{future::pending, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use hyper::client::conn::TrySendError;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    DialError, Dialler, Incoming, Origin, Protocol, Stream,
    alarm::Alarm,
    body::{BoxError, Outgoing, Progress},
    form::{for_http1, for_http2},
    http1::{Http1, Trouble},
    http2::{self, Loss},
    pool::{Keep, Pool, Slot},
    shared::{self, Connected, Join, Multiplexed},
};

/// Limits of a client.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// To an open connection, TLS included.
    pub connect: Duration,
    /// From the last part of the request's body that was taken to the response's head.
    pub head: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Unused connections of HTTP/1.1 that are kept, an origin.
    pub idle_per_origin: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            // Many requests at once over HTTP/2 end at once: what is not kept is opened again for the next ones.
            idle_per_origin: 1024,
        }
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent.
    #[error(transparent)]
    Connect(#[from] DialError),
    /// The connection was open, and no head came in time.
    #[error("{origin}: no answer in time")]
    TimedOut { origin: Origin },
    /// The connection broke off, or what came was no HTTP.
    #[error("{origin}: {}", with_causes(&**error))]
    Broken { origin: Origin, error: Arc<hyper::Error> },
    /// Answers that are to be followed by one that counts (RFC 9110, section 15.2), and none that does.
    #[error("{origin}: interim answers without end")]
    Interim { origin: Origin },
    /// The request's own body failed: it is not the origin's fault.
    #[error("{origin}: the request's body broke off")]
    Request { origin: Origin },
    /// CONNECT asks for a tunnel, and this is no way to one.
    #[error("{origin}: CONNECT is not sent")]
    Connection { origin: Origin },
}

/// Sends requests, and keeps connections for the next ones. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    dialler: Dialler,
    options: Options,
    pool: Arc<Pool>,
}

/// A connection that a request may be put on.
enum Lease {
    Http1(Box<Http1>),
    Http2(Multiplexed),
}

/// An exchange that came to nothing.
struct Failure {
    error: SendError,
    again: Option<Again>,
}

/// How a request may be sent once more, and its body.
enum Again {
    /// Nothing of it was sent.
    Anyhow(Outgoing),
    /// On a connection of its own: one of those that shared the last may be why it ended, and then hurts itself alone.
    Apart(Outgoing),
}

impl Again {
    fn body(self) -> Outgoing {
        match self {
            Self::Anyhow(body) | Self::Apart(body) => body,
        }
    }
}

impl Client {
    pub fn new(dialler: Dialler, options: Options) -> Self {
        let pool = Pool::new(Keep { rest: options.idle, resting: options.idle_per_origin });
        Self { dialler, options, pool }
    }

    /// Has other limits of time, and shares all connections: one that many wait for is waited for as whoever came first would.
    #[must_use]
    pub fn within(&self, connect: Duration, head: Duration) -> Self {
        Self { options: Options { connect, head, ..self.options }, ..self.clone() }
    }

    /// What opens its connections.
    pub fn dialler(&self) -> &Dialler {
        &self.dialler
    }

    /// Requests at once that `origin` takes over HTTP/2, as far as is known; none where each has a connection of its own.
    pub fn room(&self, origin: &Origin) -> Option<usize> {
        if !origin.may_multiplex() {
            return None;
        }
        self.pool.known(origin).map_or(Some(shared::MOST * http2::STREAMS as usize), |slot| slot.shared.room())
    }

    /// Sends `request` to `origin`; what it carries beside method, target, fields and body stays here.
    pub async fn send<B>(&self, origin: &Origin, request: Request<B>) -> Result<Response<Incoming>, SendError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = request.into_parts();
        self.send_with(origin, &head, body).await
    }

    /// Sends the request of this `head` to `origin`, whatever authority its URI names: that one is sent as `Host`, or
    /// `:authority`; without one the request's `Host` is, or the origin's. The target goes out in origin-form, to a forward
    /// proxy in absolute-form. A request whose connection was closed under it is sent once more where that can't do harm: it
    /// was not processed, or is idempotent (RFC 9110, section 9.2.2; RFC 9113, section 8.7), and nothing of a body went out.
    pub async fn send_with<B>(&self, origin: &Origin, head: &Parts, body: B) -> Result<Response<Incoming>, SendError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if head.method == Method::CONNECT {
            return Err(SendError::Connection { origin: origin.clone() });
        }
        let mut again = Again::Anyhow(Outgoing::new(body));
        let slot = self.pool.slot(origin);
        if let Some(lease) = kept(origin, &slot) {
            match self.exchange(origin, &slot, lease, head, again.body()).await {
                Ok(response) => return Ok(response),
                Err(failure) => again = failure.again.ok_or(failure.error)?,
            }
        }
        // In a box: a request on a kept connection need not carry room for this.
        Box::pin(self.send_anew(origin, &slot, head, again)).await
    }

    /// On a connection that is not there yet.
    async fn send_anew(
        &self,
        origin: &Origin,
        slot: &Arc<Slot>,
        head: &Parts,
        again: Again,
    ) -> Result<Response<Incoming>, SendError> {
        let again = match again {
            Again::Apart(_) => again,
            Again::Anyhow(body) => {
                let lease = self.connect(origin, slot).await?;
                // Nobody else's fault where it is nobody else's.
                let shared = matches!(lease, Lease::Http2(_));
                match self.exchange(origin, slot, lease, head, body).await {
                    Ok(response) => return Ok(response),
                    Err(failure) => failure.again.filter(|_| shared).ok_or(failure.error)?,
                }
            }
        };
        let turn = timeout(self.options.connect + self.options.head, slot.apart.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(timed_out(origin).error) };
        let stream = self.dialler.connect(origin.target(), self.options.connect).await?;
        let lease = self.open(origin, slot, stream, false).await?;
        self.exchange(origin, slot, lease, head, again.body()).await.map_err(|failure| failure.error)
    }

    async fn exchange(
        &self,
        origin: &Origin,
        slot: &Arc<Slot>,
        lease: Lease,
        head: &Parts,
        mut body: Outgoing,
    ) -> Result<Response<Incoming>, Failure> {
        let progress = body.progress();
        let progress = progress.as_deref();
        let twice = head.method.is_idempotent() && body.is_end_stream();
        match lease {
            Lease::Http1(mut connection) => {
                let exchange = connection.exchange(for_http1(origin, head, body), self.options.head, progress);
                match exchange.await {
                    Some(Ok(response)) => Ok(response.map(|body| Incoming::new(body, connection, slot.clone()))),
                    Some(Err(Trouble::Hyper(error))) => {
                        let again = (twice && !connection.heard()).then(|| Again::Apart(Outgoing::default()));
                        Err(failure(origin, *error, progress, again))
                    }
                    Some(Err(Trouble::Interim)) => Err(gone(SendError::Interim { origin: origin.clone() })),
                    None => Err(timed_out(origin)),
                }
            }
            Lease::Http2(mut shared) => {
                body.hold(&shared.stream);
                let outcome = {
                    let exchange = pin!(shared.sender.try_send_request(for_http2(origin, head, body)));
                    Alarm::default().in_time(exchange, self.options.head, progress).await
                };
                match outcome {
                    Some(Ok(response)) => Ok(response.map(|body| Incoming::multiplexed(body, shared.stream))),
                    Some(Err(error)) => {
                        let loss = Loss::of(error.error());
                        if loss.connection {
                            slot.shared.close(shared.number());
                        }
                        let again = match progress {
                            // In order, mostly: it may share a connection once more.
                            Some(progress) if loss.unprocessed => progress.untouched().map(Again::Anyhow),
                            None if loss.unprocessed => Some(Again::Anyhow(Outgoing::default())),
                            None if loss.connection && twice => Some(Again::Apart(Outgoing::default())),
                            _ => None,
                        };
                        Err(failure(origin, error, progress, again))
                    }
                    None => {
                        slot.shared.close(shared.number());
                        Err(timed_out(origin))
                    }
                }
            }
        }
    }

    /// A connection that carried nothing before, or a stream of one that is shared.
    async fn connect(&self, origin: &Origin, slot: &Arc<Slot>) -> Result<Lease, SendError> {
        if origin.may_multiplex()
            && let Some(lease) = self.queue(origin, slot).await?
        {
            return Ok(lease);
        }
        let stream = self.dialler.connect(origin.target(), self.options.connect).await?;
        Ok(self.open(origin, slot, stream, true).await?)
    }

    /// Waits for a stream of a connection that is shared. None where there is nothing to share.
    async fn queue(&self, origin: &Origin, slot: &Arc<Slot>) -> Result<Option<Lease>, SendError> {
        let place = slot.shared.wait();
        let deadline = Instant::now() + self.options.connect + self.options.head;
        loop {
            let outcome = match slot.shared.join(slot, &place) {
                Join::Open(shared) => return Ok(Some(Lease::Http2(shared))),
                Join::Alone => return Ok(None),
                Join::Full => None,
                Join::Wait(outcome) => Some(outcome),
                Join::First(sender, outcome) => {
                    // In a task, so that those who wait do not depend on whether this request is given up.
                    tokio::spawn(self.clone().connect_for_all(origin.clone(), slot.clone(), sender));
                    Some(outcome)
                }
            };
            let news = async {
                tokio::select! {
                    // Why there is no connection, before it is tried again.
                    biased;
                    connected = outcome_of(outcome) => connected,
                    () = place.turn() => None,
                }
            };
            match timeout_at(deadline, news).await {
                Err(_) => return Err(timed_out(origin).error),
                Ok(Some(Connected::Http1)) => return Ok(slot.take().map(Lease::Http1)),
                Ok(Some(Connected::Failed(error))) if !slot.shared.any() => return Err(error.into()),
                Ok(_) => {}
            }
        }
    }

    async fn connect_for_all(self, origin: Origin, slot: Arc<Slot>, told: watch::Sender<Option<Connected>>) {
        let lease = match self.dialler.connect(origin.target(), self.options.connect).await {
            Err(error) => Err(error),
            Ok(stream) => self.open(&origin, &slot, stream, true).await,
        };
        let connected = match lease {
            Err(error) => Connected::Failed(error),
            // Before those who wait look: its first stream is theirs.
            Ok(Lease::Http2(stream)) => {
                drop(stream);
                Connected::Http2
            }
            Ok(Lease::Http1(connection)) => {
                slot.park(connection);
                Connected::Http1
            }
        };
        slot.shared.connected(&connected);
        told.send_replace(Some(connected));
    }

    async fn open(&self, origin: &Origin, slot: &Arc<Slot>, stream: Stream, share: bool) -> Result<Lease, DialError> {
        if origin.protocol() == Protocol::H2c || stream.protocol() == Some(b"h2") {
            return http2::open(origin, slot, stream, self.options.connect, share).await.map(Lease::Http2);
        }
        let peer = || origin.target().place.to_string().into();
        let connection = Http1::open(stream).await;
        connection
            .map(Lease::Http1)
            .map_err(|error| DialError::Io { peer: peer(), source: Arc::new(io::Error::other(error)) })
    }
}

/// Of an attempt, where one is made.
async fn outcome_of(outcome: Option<watch::Receiver<Option<Connected>>>) -> Option<Connected> {
    match outcome {
        Some(mut outcome) => outcome.wait_for(Option::is_some).await.ok()?.clone(),
        None => pending().await,
    }
}

/// An open connection that a request may be put on at once.
fn kept(origin: &Origin, slot: &Arc<Slot>) -> Option<Lease> {
    if origin.may_multiplex()
        && let Some(shared) = slot.shared.take(slot)
    {
        return Some(Lease::Http2(shared));
    }
    slot.take().map(Lease::Http1)
}

fn failure(
    origin: &Origin,
    error: TrySendError<Request<Outgoing>>,
    progress: Option<&Progress>,
    again: Option<Again>,
) -> Failure {
    let mut error = error;
    let unsent = error.take_message().map(|request| Again::Anyhow(request.into_body()));
    let again = unsent.or(again);
    let origin = origin.clone();
    let error = if progress.is_some_and(Progress::failed) {
        SendError::Request { origin }
    } else {
        SendError::Broken { origin, error: Arc::new(error.into_error()) }
    };
    Failure { error, again }
}

fn timed_out(origin: &Origin) -> Failure {
    gone(SendError::TimedOut { origin: origin.clone() })
}

/// Of a request that is not to be sent again.
fn gone(error: SendError) -> Failure {
    Failure { error, again: None }
}

/// An error in one line. hyper's say what was tried; their causes say what was wrong.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
