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
    Failure, body::Origin, capability::stdio::printable, ctx::Ctx, failure::trap, limits::GATHER, streamed::broken,
    upload::Upload,
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

    let (head, body) = response.into_parts();
    let mut gathering = Gathering { body, frames: VecDeque::new(), bytes: 0, state: State::Guests };
    let mut looks = LOOKS;
    let idle = std::future::poll_fn(|cx| {
        let more = gathering.poll(origin, cx);
        let idle = accessor.poll_no_interesting_tasks(cx).is_ready();
        looks = if more { LOOKS } else { looks - 1 };
        if looks == 0 || gathering.is_over(idle) {
            return Poll::Ready(idle);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    let Gathering { body, frames, state, .. } = gathering;
    let rest = match state {
        State::Whole => Rest::Nothing,
        State::HostsOwn => Rest::Host(body),
        State::Guests => Rest::Guest(body),
        State::Broken(error) => return Err(Failure::BadAnswer(broken(error).to_string())),
    };
    Ok(Taken { head, frames, rest, idle })
}

/// How often to look, with nothing new, whether a guest writes more of its body or comes to rest: between two looks wasmtime
/// lets it go on. A guest that waits for something else is not waited for.
const LOOKS: u32 = 8;

/// What is taken of a body before anybody reads it, so that a slow reader of a small one holds no instance.
struct Gathering {
    body: WasiBody,
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    state: State,
}

enum State {
    /// There may be more, and the guest has to write it.
    Guests,
    /// There may be more, and the host has it.
    HostsOwn,
    Whole,
    Broken(Error),
}

impl Gathering {
    /// Takes what is there, up to `GATHER`. Whether there was any.
    fn poll(&mut self, origin: &Origin, cx: &mut Context<'_>) -> bool {
        let before = self.frames.len();
        while matches!(self.state, State::Guests | State::HostsOwn) && self.bytes <= GATHER {
            let (frame, hosts_own) = origin.poll_frame(Pin::new(&mut self.body), cx);
            if hosts_own {
                self.state = State::HostsOwn;
            }
            match frame {
                Poll::Ready(None) => self.state = State::Whole,
                Poll::Ready(Some(Err(error))) => self.state = State::Broken(error),
                Poll::Ready(Some(Ok(frame))) => {
                    self.bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push_back(frame);
                }
                Poll::Pending => break,
            }
        }
        self.frames.len() > before
    }

    fn is_over(&self, idle: bool) -> bool {
        match self.state {
            State::Guests => self.bytes > GATHER,
            State::HostsOwn | State::Whole => idle,
            State::Broken(_) => true,
        }
    }
}

fn code_words(code: &ErrorCode) -> String {
    match code {
        ErrorCode::InternalError(Some(words)) => {
            format!("internal-error: {}", printable(words.as_bytes()))
        }
        code => format!("{code:?}"),
    }
}
