//! A service: a request goes to an instance of its own until the response's body has ended. A body that the host makes
//! holds no instance, and neither does one that is small enough to be taken at once.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{
    WasiHttpView as _,
    handler::{Proxy, ProxyPre},
    p2::{bindings::http::types::Scheme, body::HostOutgoingBody},
};

use crate::{
    Answer, Body, Engine, Failure,
    ask::{Rest, Taken, ask},
    counts::{Counts, InFlight},
    ctx::{Ctx, Given},
    failure::trap,
    pool::{Instance, Pool},
    streamed::{BrokenOff, Fate, Streamed},
    upload::{Progress, Upload},
};

/// Whether a request may share an instance with those that came before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// An instance is used again.
    Shared,
    /// An instance of its own, dropped afterwards: the request carries a credential or may change the guest's mind.
    Alone,
}

pub(crate) struct Service {
    engine: Engine,
    given: Arc<Given>,
    pool: Arc<Pool>,
    counts: Arc<Counts>,
    /// Ends what is in flight: the generation is reset.
    reset: CancellationToken,
}

impl Service {
    pub(crate) fn new(engine: Engine, given: Arc<Given>, pre: ProxyPre<Ctx>, reset: CancellationToken) -> Self {
        let pool = Pool::new(engine.clone(), given.clone(), pre);
        Self { engine, given, pool, counts: Arc::default(), reset }
    }

    pub(crate) fn reset(&self) -> &CancellationToken {
        &self.reset
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Answers one request, whose URI is absolute.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        mut request: http::Request<Body>,
        isolation: Isolation,
    ) -> Result<Answer, Failure> {
        let _running = self.engine.running();
        let in_flight = InFlight::new(&self.counts, request.extensions_mut().remove());
        let alone = isolation == Isolation::Alone;
        let answer = if self.pool.crowds() && !alone {
            self.ask_crowd(request, in_flight).await
        } else {
            let instance = self.pool.take(alone).await?;
            match instance.proxy {
                Proxy::P3(_) => self.ask_p3(instance, request, alone, in_flight).await,
                Proxy::P2(_) => self.ask_p2(instance, request, in_flight).await,
            }
        };
        match answer {
            Ok(answer) if answer.response.status().is_informational() => {
                Err(Failure::BadAnswer(format!("{} is no status to end with", answer.response.status().as_u16())))
            }
            Err(Failure::Trapped(words)) => {
                self.counts.traps.fetch_add(1, Ordering::Relaxed);
                Err(Failure::Trapped(words))
            }
            answer => answer,
        }
    }

    async fn ask_p3(
        self: &Arc<Self>,
        mut instance: Instance,
        request: http::Request<Body>,
        alone: bool,
        in_flight: InFlight,
    ) -> Result<Answer, Failure> {
        let ctx = instance.store.data();
        let (answering, origin) = (ctx.answering.clone(), ctx.origin.clone());
        answering.begin();
        let effects = answering.effects();
        let progress = Progress::start();
        let method = request.method().clone();
        let request = request.map(|body| Upload::new(body, progress.clone()));

        let Proxy::P3(handler) = &instance.proxy else { unreachable!("asked of a 0.3 instance alone") };
        let asked = async {
            instance
                .store
                .run_concurrent(async |accessor| ask(accessor, handler, request, &origin).await)
                .await
                .map_err(|error| trap(&error))?
        };
        let timeout = self.given.limits.timeout;
        let taken = tokio::select! {
            biased;
            taken = asked => taken.map_err(|failure| progress.told(failure))?,
            () = progress.overdue(timeout) => return Err(Failure::TimedOut),
            () = self.reset.cancelled() => return Err(reset()),
        };
        let Taken { head, frames, rest, idle } = taken;
        let length = length(&method, head.status, &head.headers);
        let mut fate = None;
        let body = match rest {
            Rest::Nothing => whole(frames, length)?,
            Rest::Host(body) => Streamed::from_host(frames, body),
            Rest::Guest(body) => {
                let fate = fate.insert(Fate::new(self.reset.clone())).clone();
                Streamed::from_guest(frames, body, fate, progress, self.given.clone())
            }
        };
        match fate {
            None if idle && !alone => self.pool.give_back(instance),
            None if idle => {}
            Some(fate) => drop(tokio::spawn(self.clone().carry(instance, fate, alone, in_flight))),
            None => {
                let fate = Fate::new(self.reset.clone());
                fate.end();
                tokio::spawn(self.clone().carry(instance, fate, alone, in_flight));
            }
        }
        Ok(Answer { response: http::Response::from_parts(head, body.of_length(length).boxed_unsync()), effects })
    }

    /// The same of an instance that carries others too.
    async fn ask_crowd(self: &Arc<Self>, request: http::Request<Body>, in_flight: InFlight) -> Result<Answer, Failure> {
        let (crowd, place) = self.pool.enter(self).await?;
        let progress = Progress::start();
        let method = request.method().clone();
        let request = request.map(|body| Upload::new(body, progress.clone()));
        let timeout = self.given.limits.timeout;
        let (taken, held) = tokio::select! {
            biased;
            answer = crowd.ask(request, (place, in_flight)) => answer.map_err(|failure| progress.told(failure))?,
            () = progress.overdue(timeout) => {
                crowd.fate().abandon();
                return Err(Failure::TimedOut);
            }
            () = self.reset.cancelled() => return Err(reset()),
        };
        let Taken { head, frames, rest, .. } = taken;
        let length = length(&method, head.status, &head.headers);
        let body = match rest {
            Rest::Nothing => whole(frames, length)?,
            Rest::Host(body) => Streamed::from_host(frames, body),
            Rest::Guest(body) => {
                let fate = crowd.fate().of_another_body();
                Streamed::from_guest(frames, body, fate, progress, self.given.clone()).holding(held)
            }
        };
        Ok(Answer {
            response: http::Response::from_parts(head, body.of_length(length).boxed_unsync()),
            effects: crowd.effects(),
        })
    }

    /// What became of an instance that carried several.
    pub(crate) fn crowd_ended(&self, result: Result<(), Failure>) {
        match result {
            Ok(()) => {}
            Err(Failure::Trapped(words)) => self.trapped(&Failure::Trapped(words)),
            Err(failure) => self.given.tell_failed(&failure),
        }
    }

    /// A trap that no caller is told of, since its answer was out already.
    fn trapped(&self, failure: &Failure) {
        self.counts.traps.fetch_add(1, Ordering::Relaxed);
        self.given.tell_failed(failure);
    }

    /// Runs an instance on until it has nothing left to do: the body that it writes has then left it.
    async fn carry(self: Arc<Self>, mut instance: Instance, fate: Fate, alone: bool, in_flight: InFlight) {
        let _running = self.engine.running();
        let timeout = self.given.limits.timeout;
        let rest = instance.store.run_concurrent(async |accessor| {
            std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        });
        // Outside: within the store's own loop a timer is not looked at while the guest computes.
        let done = tokio::select! {
            biased;
            done = rest => done.map(|()| true),
            () = fate.overstayed(timeout) => Ok(false),
            () = self.reset.cancelled() => Ok(false),
        };
        match &done {
            Ok(true) => {}
            Ok(false) => fate.break_off(),
            Err(error) => {
                fate.break_off();
                self.trapped(&trap(error));
            }
        }
        match done {
            Ok(true) if !alone => self.pool.give_back(instance),
            _ => drop(instance),
        }
        drop(in_flight);
    }

    async fn ask_p2(
        self: &Arc<Self>,
        mut instance: Instance,
        request: http::Request<Body>,
        in_flight: InFlight,
    ) -> Result<Answer, Failure> {
        let answering = instance.store.data().answering.clone();
        answering.begin();
        let progress = Progress::start();
        let scheme = if request.uri().scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        let method = request.method().clone();
        let request = request.map(|body| Upload::new(body, progress.clone()));
        let (tell, told) = oneshot::channel();
        let mut http = instance.store.data_mut().http();
        let request = http.new_incoming_request(scheme, request).map_err(|error| trap(&error))?;
        let out = http.new_response_outparam(tell).map_err(|error| trap(&error))?;

        let timeout = self.given.limits.timeout;
        let fate = Fate::new(self.reset.clone());
        // Whoever waited may be gone before there is an answer.
        let unanswered = fate.guard();
        let (failed, mut failure) = oneshot::channel();
        let (this, guests_fate) = (self.clone(), fate.clone());
        tokio::spawn(async move {
            let _running = this.engine.running();
            let Proxy::P2(proxy) = &instance.proxy else { unreachable!("asked of a 0.2 instance alone") };
            let call = proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, out);
            let result = tokio::select! {
                biased;
                result = call => result.map_err(|error| trap(&error)),
                () = guests_fate.overstayed(timeout) => Err(Failure::TimedOut),
                () = this.reset.cancelled() => Err(reset()),
            };
            // A body that was finished needs the instance no more; one that was not will never be.
            if result.is_err() || has_unfinished_body(&mut instance) {
                guests_fate.break_off();
            }
            if let Err(error) = result
                && let Err(Failure::Trapped(words)) = failed.send(error)
            {
                this.trapped(&Failure::Trapped(words));
            }
            drop((instance, in_flight));
        });

        let response = tokio::select! {
            biased;
            response = told => response,
            () = progress.overdue(timeout) => return Err(Failure::TimedOut),
        };
        match response {
            Ok(Ok(response)) => {
                unanswered.disarm();
                // It may have trapped between its head and now; from now on it tells by itself.
                failure.close();
                if let Ok(failure @ Failure::Trapped(_)) = failure.try_recv() {
                    self.trapped(&failure);
                }
                let length = length(&method, response.status(), response.headers());
                let given = self.given.clone();
                let body = |body| Streamed::from_guest(VecDeque::new(), body, fate, progress, given).of_length(length);
                let response = response.map(|content| body(content).boxed_unsync());
                Ok(Answer { response, effects: answering.effects() })
            }
            Ok(Err(code)) => Err(progress.told(Failure::NoResponse(format!("{code:?}")))),
            Err(_) => match failure.await {
                Ok(failure) => Err(progress.told(failure)),
                Err(_) => Err(progress.told(Failure::NoResponse("it returned without a response".into()))),
            },
        }
    }
}

/// The bytes that a response's head promises. What answers HEAD, and a 304, promise them of another (RFC 9110 section 8.6).
fn length(method: &Method, status: StatusCode, fields: &HeaderMap) -> Option<u64> {
    let of_another = method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let length = fields.get(CONTENT_LENGTH).filter(|_| !of_another)?;
    length.to_str().ok()?.parse().ok()
}

/// A body that is here already, and has the length that it should have.
fn whole(frames: VecDeque<Frame<Bytes>>, length: Option<u64>) -> Result<Streamed, Failure> {
    let body = Streamed::whole(frames);
    let bytes = http_body::Body::size_hint(&body).exact();
    match length {
        Some(length) if Some(length) != bytes => Err(Failure::BadAnswer(BrokenOff::WrongLength.to_string())),
        _ => Ok(body),
    }
}

fn has_unfinished_body(instance: &mut Instance) -> bool {
    instance.store.data_mut().table.iter_mut().any(|resource| resource.is::<HostOutgoingBody>())
}

fn reset() -> Failure {
    Failure::NoResponse("reset: it was asked of an older generation".into())
}
