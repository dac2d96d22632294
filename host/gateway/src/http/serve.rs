//! One connection, HTTP/1.1 or 2, from its first byte to its last: both drive the same answers, over the same corked
//! writer. It ends when its client or the host wants it to, and finishes what was begun.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use atoll_net::{
    frames::{Frames, Most},
    heads::Heads,
};
use http::{Request, Response, StatusCode, Version};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::{
    access::Record,
    break_off::BreakOff,
    cork::{Ear, Opener, cork},
    edge::{House, answer},
    gateway::Gateway,
    limits::{
        CONNECTION_WINDOW, ERROR_RESETS, HTTP1_BUFFER, Limits, PENDING_RESETS, SEND_BUFFER, STREAM_WINDOW, USUAL_FIELDS,
    },
    payload::Payload,
    peer::Peer,
    streams::{Newcomers, Streams},
    visit::Answering,
    watch::{Order, Watch},
};
use crate::tls::Protocol;

/// How often a connection that always has something to do goes on before others are let.
const ROUNDS: usize = 16;

/// To a client whose head took too long.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, sections 6.8 and 7); any of its streams may have been begun.
const CALM: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

pub(super) async fn run<I>(gateway: Arc<Gateway>, peer: Peer, io: I, watch: &Arc<Watch>, limits: &Limits)
where
    I: AsyncRead + AsyncWrite + BreakOff + Send + Unpin + 'static,
{
    let protocol = peer.protocol;
    let mut streams = Streams::default();
    let house = House::new(gateway, peer, watch.clone(), streams.newcomers());
    let ear = match protocol {
        Protocol::Http1 => Ear::Http1(Heads::default()),
        Protocol::Http2 => {
            let most = Most { resets: limits.resets, control: limits.control_frames };
            Ear::Http2(Frames::new(most, watch.now()))
        }
    };
    let opener = cork(io, watch.clone(), ear);
    let order = match protocol {
        Protocol::Http1 => loop {
            // In a box, which is given back while the connection rests, with the buffers in it.
            let io = TokioIo::new(opener.corked());
            let mut connection = Box::pin(http1(limits).serve_connection(io, Front(&house)).with_upgrades());
            let end = drive(watch, &opener, |cx, step| match step {
                Step::Leave => {
                    connection.as_mut().graceful_shutdown();
                    Poll::Pending
                }
                Step::Go => connection.as_mut().poll(cx).map(|done| {
                    if let Err(error) = done {
                        tell_refused(&house, &error);
                    }
                }),
                Step::Rest => Poll::Ready(()),
            })
            .await;
            match end {
                End::Rest => {}
                // What it became goes on with the same bytes.
                End::Order(Order::Serve) => {
                    let go = |cx: &mut Context<'_>, step| match step {
                        Step::Leave | Step::Rest => Poll::Pending,
                        Step::Go => streams.poll_all(cx),
                    };
                    break drive(watch, &opener, go).await.order();
                }
                End::Order(order) => break order,
            }
            drop(connection);
            let order = poll_fn(|cx| match watch.order(cx.waker()) {
                Order::Serve => opener.poll_heard(cx).map(|()| Order::Serve),
                order => Poll::Ready(order),
            })
            .await;
            if order != Order::Serve {
                break order;
            }
        },
        Protocol::Http2 => {
            let io = TokioIo::new(opener.corked());
            let mut connection = Box::pin(http2(&streams, limits).serve_connection(io, Front(&house)));
            drive(watch, &opener, |cx, step| match step {
                Step::Rest => Poll::Pending,
                Step::Leave => {
                    connection.as_mut().graceful_shutdown();
                    Poll::Pending
                }
                Step::Go => {
                    for _ in 0..ROUNDS {
                        if connection.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(());
                        }
                        // What ended has left frames to send, and room for others.
                        if !streams.poll(cx) {
                            return Poll::Pending;
                        }
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await
            .order()
        }
    };
    match order {
        Order::Abort => return,
        Order::Late if protocol == Protocol::Http2 => return opener.tell(CALM).await,
        Order::Late => return opener.tell(late(&house)).await,
        Order::Yield => {
            return poll_fn(|cx| {
                opener.close_now(cx);
                Poll::Ready(())
            })
            .await;
        }
        Order::Leave | Order::Serve if watch.is_broken() => return opener.break_off(),
        Order::Leave | Order::Serve if opener.flooded() => return opener.tell(CALM).await,
        Order::Leave | Order::Serve => {}
    }
    let mut lingering = pin!(opener.linger());
    poll_fn(|cx| match watch.order(cx.waker()) {
        Order::Abort | Order::Yield => Poll::Ready(()),
        Order::Leave | Order::Late | Order::Serve => lingering.as_mut().poll(cx),
    })
    .await;
}

/// A request that could not be read is one of the log's, too.
fn tell_refused(house: &House, error: &hyper::Error) {
    let why = error.to_string();
    let status = match error.is_parse_too_large() {
        true if why.contains("URI") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    };
    if error.is_parse() {
        tell_unread(house, status, why);
    }
}

fn late(house: &House) -> &'static [u8] {
    tell_unread(house, StatusCode::REQUEST_TIMEOUT, "the head took too long".into());
    LATE
}

fn tell_unread(house: &House, status: StatusCode, why: String) {
    if let Some(log) = &house.gateway.table.load().access {
        Record::refused(log, house.line.peer.origin().client, Version::HTTP_11, status, why);
    }
}

enum Step {
    Leave,
    Go,
    /// Nothing is under way: ready where it can be begun anew when something is.
    Rest,
}

enum End {
    /// By this order; `Serve` where it was done.
    Order(Order),
    Rest,
}

impl End {
    fn order(self) -> Order {
        match self {
            Self::Order(order) => order,
            Self::Rest => Order::Serve,
        }
    }
}

/// Polls a connection until it is done, or has nothing to do for a while, does what it is told from outside, and opens the
/// cork whenever it rests.
async fn drive<I: AsyncWrite + Unpin>(
    watch: &Watch,
    opener: &Opener<I>,
    mut connection: impl FnMut(&mut Context<'_>, Step) -> Poll<()>,
) -> End {
    let mut leaving = false;
    poll_fn(|cx| {
        let mut order = watch.order(cx.waker());
        loop {
            match order {
                Order::Abort | Order::Late => return Poll::Ready(End::Order(order)),
                Order::Yield => {
                    // It has nothing to do but to say so.
                    let _ = connection(cx, Step::Leave);
                    let _ = connection(cx, Step::Go);
                    opener.open(cx);
                    return Poll::Ready(End::Order(order));
                }
                Order::Leave if !leaving => {
                    leaving = true;
                    let _ = connection(cx, Step::Leave);
                }
                Order::Leave | Order::Serve => {}
            }
            let done = connection(cx, Step::Go);
            // A first request that has just come may be what a connection that is to leave was waiting for.
            order = if leaving || done.is_ready() { Order::Serve } else { watch.order(cx.waker()) };
            if order == Order::Serve {
                opener.open(cx);
                let rests = done.is_pending() && !leaving && watch.rests() && opener.is_quiet();
                if rests && connection(cx, Step::Rest).is_ready() {
                    return Poll::Ready(End::Rest);
                }
                return done.map(|()| End::Order(Order::Serve));
            }
        }
    })
    .await
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(limits.head_size as usize).max_buf_size(HTTP1_BUFFER.max(limits.head_size as usize));
    if limits.fields != USUAL_FIELDS {
        builder.max_headers(limits.fields as usize);
    }
    builder
}

fn http2(streams: &Streams, limits: &Limits) -> http2::Builder<Newcomers> {
    let mut builder = http2::Builder::new(streams.newcomers());
    builder
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .max_header_list_size(limits.head_size)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

/// What hyper asks for each request.
struct Front<'h>(&'h House);

impl Service<Request<Incoming>> for Front<'_> {
    type Response = Response<Payload>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        answer(self.0, request)
    }
}
