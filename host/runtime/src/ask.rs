//! One question to a 0.3 service: the call, and what of the response can be taken off the instance at once.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::{
    Error, FieldMap, WasiBody, WasiHttpView as _,
    p3::{
        self,
        bindings::{Service as Handler, http::types::ErrorCode},
    },
};

use crate::{
    Failure, body::Origin, capability::stdio::printable, ctx::Ctx, failure::trap, limits::GATHER, upload::Upload,
};

/// What was taken off an instance at once.
pub(crate) struct Taken {
    pub(crate) head: http::response::Parts,
    pub(crate) frames: VecDeque<Frame<Bytes>>,
    pub(crate) rest: Rest,
    /// The guest has nothing left to do.
    pub(crate) idle: bool,
}

pub(crate) enum Rest {
    Nothing,
    Host(WasiBody),
    Guest(WasiBody),
}

pub(crate) async fn ask(
    accessor: &Accessor<Ctx>,
    handler: &Handler,
    request: http::Request<Upload>,
    origin: &Origin,
) -> Result<Taken, Failure> {
    let (request, sent) = accessor
        .with(|mut access| {
            let http = access.data_mut().http();
            let (head, body) = request.into_parts();
            let target = head.uri.into_parts();
            let fields = FieldMap::new_immutable(http.hooks, head.headers);
            let (scheme, authority, path) = (target.scheme, target.authority, target.path_and_query);
            let (request, sent) = p3::Request::new(head.method, scheme, authority, path, fields, None, body);
            wasmtime::error::Ok((http.table.push(request)?, sent))
        })
        .map_err(|error| trap(&error))?;
    let response = handler.wasi_http_handler().call_handle(accessor, request).await.map_err(|error| trap(&error))?;
    let response = response.map_err(|code| Failure::NoResponse(code_words(&code)))?;
    let response = accessor
        .with(|mut access| {
            let response = access.data_mut().table.delete(response)?;
            response.into_http(access, sent)
        })
        .map_err(|error| Failure::BadAnswer(format!("{error:#}")))?;

    let (head, mut body) = response.into_parts();
    let mut frames = VecDeque::new();
    let rest = std::future::poll_fn(|cx| Poll::Ready(gather(&mut body, &mut frames, origin, cx))).await;
    let idle = std::future::poll_fn(|cx| Poll::Ready(accessor.poll_no_interesting_tasks(cx).is_ready())).await;
    let rest = match rest {
        Gathered::Whole => Rest::Nothing,
        Gathered::HostsOwn => Rest::Host(body),
        Gathered::Guests => Rest::Guest(body),
        Gathered::Broken(error) => return Err(Failure::BadAnswer(error.to_string())),
    };
    Ok(Taken { head, frames, rest, idle })
}

enum Gathered {
    Whole,
    HostsOwn,
    Guests,
    Broken(Error),
}

/// Takes what is there of a body, up to `GATHER`.
fn gather(body: &mut WasiBody, frames: &mut VecDeque<Frame<Bytes>>, origin: &Origin, cx: &mut Context<'_>) -> Gathered {
    let (mut bytes, mut hosts_own) = (0, false);
    loop {
        let (frame, from_host) = origin.poll_frame(Pin::new(body), cx);
        hosts_own |= from_host;
        match frame {
            Poll::Ready(None) => return Gathered::Whole,
            Poll::Ready(Some(Err(error))) => return Gathered::Broken(error),
            Poll::Ready(Some(Ok(frame))) => {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                frames.push_back(frame);
            }
            Poll::Pending => break,
        }
        if bytes > GATHER {
            break;
        }
    }
    if hosts_own { Gathered::HostsOwn } else { Gathered::Guests }
}

fn code_words(code: &ErrorCode) -> String {
    match code {
        ErrorCode::InternalError(Some(words)) => {
            format!("internal-error: {}", printable(words.as_bytes()))
        }
        code => format!("{code:?}"),
    }
}
