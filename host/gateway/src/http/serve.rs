//! One connection, HTTP/1.1 or 2, from its first byte to its last: both drive the same answers, over the same corked
//! writer. It ends when its client or the host wants it to, and finishes what was begun.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::{
    connections::{Order, Watch},
    cork::{Opener, cork},
    edge::{House, answer},
    limits::{
        CONNECTION_WINDOW, ERROR_RESETS, HEAD, HTTP1_BUFFER, PENDING_RESETS, SEND_BUFFER, STREAM_WINDOW, STREAMS,
    },
    payload::Payload,
    streams::Streams,
    visit::Answering,
};
use crate::tls::Protocol;

/// How often a connection that always has something to do goes on before others are let.
const ROUNDS: usize = 16;

pub(super) async fn run<I>(house: House, io: I, watch: &Arc<Watch>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (corked, opener) = cork(io, watch.clone());
    let io = TokioIo::new(corked);
    match house.line.peer.protocol {
        Protocol::Http1 => {
            let mut connection = pin!(http1().serve_connection(io, Front(house)));
            drive(watch, &opener, |cx, step| match step {
                Step::Leave => {
                    connection.as_mut().graceful_shutdown();
                    Poll::Pending
                }
                Step::Go => connection.as_mut().poll(cx).map(drop),
            })
            .await;
        }
        Protocol::Http2 => {
            let mut streams = Streams::default();
            let mut connection = pin!(http2(&streams).serve_connection(io, Front(house)));
            drive(watch, &opener, |cx, step| match step {
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
            .await;
        }
    }
    let mut lingering = pin!(opener.linger());
    poll_fn(|cx| match watch.order(cx.waker()) {
        Order::Abort => Poll::Ready(()),
        Order::Leave | Order::Serve => lingering.as_mut().poll(cx),
    })
    .await;
}

enum Step {
    Leave,
    Go,
}

/// Polls a connection until it is done, does what it is told from outside, and opens the cork whenever it rests.
async fn drive<I: AsyncWrite + Unpin>(
    watch: &Watch,
    opener: &Opener<I>,
    mut connection: impl FnMut(&mut Context<'_>, Step) -> Poll<()>,
) {
    let mut leaving = false;
    poll_fn(|cx| {
        let mut order = watch.order(cx.waker());
        loop {
            match order {
                Order::Abort => return Poll::Ready(()),
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
                return done;
            }
        }
    })
    .await;
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(HEAD).max_buf_size(HTTP1_BUFFER);
    builder
}

fn http2(streams: &Streams) -> http2::Builder<crate::http::streams::Newcomers> {
    let mut builder = http2::Builder::new(streams.newcomers());
    builder
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .max_header_list_size(HEAD.try_into().expect("a few thousand"))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// What hyper asks for each request.
struct Front(House);

impl Service<Request<Incoming>> for Front {
    type Response = Response<Payload>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        answer(&self.0, request)
    }
}
