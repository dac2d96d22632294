//! A request that a service's guest has to be asked, or that waits for what another's comes to; and what the answer means
//! to memory.

use std::sync::Arc;

use atoll_runtime::{Body, Decision, Failure, Forwarding, Held, Isolation};
use atoll_semantics::{coding, forwarded, hop, storing::Terms};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    },
    request, response,
};

use crate::http::{
    access::Upstream,
    arriving::Arriving,
    collect::{Collected, collect, declared},
    component::{Live, Reply},
    edge::House,
    encoder::Encoding,
    flight::{Landing, Lead, Seat},
    inbound::Inbound,
    key::Handed,
    limits::{COLLECTED, SHARED_WAIT},
    memory::{Fresh, Memory, Remembered},
    payload::{Payload, Stream},
    representation::{self, Asked, Outcome, Representation},
    rescue::Fault,
    roster::Service,
    service::{forwarding, handed, present},
    upload::{Blame, Upload},
    visit::Visit,
};

/// How often a request that waited for another's answer tries to ask in its place.
const TRIES: usize = 3;

pub(super) struct Question {
    pub(super) house: House,
    pub(super) service: Arc<Service>,
    pub(super) live: Arc<dyn Live>,
    pub(super) decision: Arc<Decision>,
    pub(super) inbound: Inbound,
    /// As the decision moved it.
    pub(super) path: String,
    /// With the decision's changes.
    pub(super) parts: request::Parts,
    /// Whether it may be answered out of memory, and its answer remembered.
    pub(super) askable: bool,
    /// The client's share of the component's instances.
    pub(super) held: Option<Held>,
}

/// For whom a question is asked.
enum Place {
    /// For those who wait, too.
    Lead(Lead),
    Alone,
    /// By another: here is what came of it.
    Answered(Arc<Remembered>),
}

impl Question {
    pub(super) async fn answer(mut self, body: Arriving, mut visit: Visit) -> Response<Payload> {
        let mut lead = None;
        match if self.askable { self.place().await } else { Place::Alone } {
            Place::Answered(remembered) => {
                self.service.tally.hit();
                visit.answered_by(|| Upstream { remembered: true, ..remembered.upstream.clone() });
                return self.conclude(self.encoded(&remembered).await, visit);
            }
            Place::Lead(leading) => lead = Some(leading),
            Place::Alone => {}
        }
        if self.askable {
            self.service.tally.miss();
        }
        visit.answered_by(|| self.upstream());
        match self.seat(&mut lead).await {
            Ok(held) => self.held = held,
            Err(fault) => return self.conclude(Outcome::Fault(fault), visit),
        }
        let outcome = self.ask(body, &mut lead).await;
        if let Some(lead) = lead {
            // It failed: those who wait try for themselves.
            lead.land(Landing::Alone);
        }
        self.conclude(outcome.unwrap_or_else(Outcome::Fault), visit)
    }

    /// None for those who speak for many.
    async fn seat(&self, lead: &mut Option<Lead>) -> Result<Option<Held>, Fault> {
        let client = self.inbound.origin.client;
        if self.house.gateway.trusts(client) {
            return Ok(None);
        }
        let isolation = self.isolation();
        let shares = match isolation {
            Isolation::Shared => &self.service.shares.shared,
            Isolation::Alone => &self.service.shares.alone,
        };
        let room = self.live.room(isolation);
        if let Some(seat) = shares.seat(client, room, false).await {
            return Ok(Some(Held::new(seat)));
        }
        // Those who follow wait for the guest, and not for what else this client has under way.
        if let Some(lead) = lead.take() {
            lead.land(Landing::Alone);
        }
        match shares.seat(client, room, true).await {
            Some(seat) => Ok(Some(Held::new(seat))),
            None => Err(Fault::Service(Failure::Overloaded)),
        }
    }

    fn isolation(&self) -> Isolation {
        if self.parts.method.is_safe() && !self.parts.headers.contains_key(AUTHORIZATION) {
            Isolation::Shared
        } else {
            Isolation::Alone
        }
    }

    /// A HEAD's answer is nobody else's; a GET's may be.
    async fn place(&self) -> Place {
        let recall = || self.memory().recall(&self.handed(), || self.house.gateway.clock.instant());
        for _ in 0..TRIES {
            if let Some(remembered) = recall() {
                return Place::Answered(remembered);
            }
            let (key, _) = self.memory().key(&self.handed());
            if self.parts.method != Method::GET || self.memory().is_unremembered(key.bytes()) {
                return Place::Alone;
            }
            match self.house.gateway.flights.board(key.bytes()) {
                Seat::Lead(lead) => return Place::Lead(lead),
                Seat::Follow(follow) => match follow.landing(SHARED_WAIT).await {
                    Landing::Remembered => return recall().map_or(Place::Alone, Place::Answered),
                    Landing::Alone => return Place::Alone,
                    Landing::Abandoned => {}
                },
            }
        }
        Place::Alone
    }

    async fn ask(&self, body: Arriving, lead: &mut Option<Lead>) -> Result<Outcome, Fault> {
        let touches = self.memory().touches();
        let Reply { response, marked } = self.call(body).await?;
        let (mut head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(bad_answer(format!("status {}", head.status.as_u16())));
        }
        hop::strip(&mut head.headers);
        if !self.parts.method.is_safe() && (head.status.is_success() || head.status.is_redirection()) {
            self.memory().touch(&self.handed());
        }
        let bodiless = self.parts.method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length =
            declared(&head.headers, (!bodiless).then_some(&body)).map_err(|error| bad_answer(error.to_string()))?;
        if bodiless {
            self.alone(lead);
            return self.bodiless(head, body, length);
        }
        let now = self.house.gateway.clock.wall();
        let terms = Terms::of(&self.parts.headers, &self.parts.method, &head, now);
        let terms = terms.filter(|_| self.askable && fits(&head.headers, length));
        let Some(terms) = terms else {
            self.alone(lead);
            return self.once(head, body, length).await;
        };
        match self.collect(body, length).await? {
            Collected::Whole(bytes) => self.keep(head, bytes, &terms, marked(), touches, lead).await,
            Collected::Larger(first, rest) => {
                self.alone(lead);
                self.streamed(head, Stream::resumed(first, rest), None)
            }
        }
    }

    async fn call(&self, body: Arriving) -> Result<Reply, Fault> {
        let (upload, fate) = Upload::new(body, &self.house.line);
        let request = self.request()?.map(|()| upload.boxed());
        let reply = self.live.clone().handle(request, self.isolation()).await;
        match reply {
            Ok(Reply { response, marked }) => Ok(Reply { response: response.map(|body| fate.answering(body)), marked }),
            Err(failure) => Err(fate.blame().map_or(Fault::Service(failure), Into::into)),
        }
    }

    /// An answer that is to be remembered.
    async fn keep(
        &self,
        mut head: response::Parts,
        bytes: Bytes,
        terms: &Terms,
        marked: bool,
        touches: u64,
        lead: &mut Option<Lead>,
    ) -> Result<Outcome, Fault> {
        let fresh = if marked {
            let now = self.house.gateway.clock.instant();
            let fresh = Fresh::For { since: now, age: terms.age, lifetime: terms.lifetime };
            if !fresh.lasts(now) {
                self.alone(lead);
                return self.collected(head, bytes);
            }
            // Its age counts from here, whoever is given it.
            let wall = httpdate::fmt_http_date(self.house.gateway.clock.wall());
            head.headers.entry(DATE).or_insert(HeaderValue::try_from(wall).expect("a date is ASCII"));
            fresh
        } else {
            Fresh::WhileGeneration
        };
        // A buffer of its own size: a piece of a larger one would keep all of that.
        let bytes = Bytes::from(Box::<[u8]>::from(&bytes[..]));
        let representation = Representation::new(head.status, head.headers, bytes, true);
        let (remembered, kept) =
            self.memory().remember(&self.handed(), &terms.varies, representation, fresh, self.upstream(), touches);
        if let Some(lead) = lead.take() {
            lead.land(if kept { Landing::Remembered } else { Landing::Alone });
        }
        if kept {
            return Ok(self.encoded(&remembered).await);
        }
        let (head, bytes) = remembered.representation.whole();
        self.collected(head, bytes)
    }

    /// An answer to this request alone.
    async fn once(&self, head: response::Parts, body: Body, length: Option<u64>) -> Result<Outcome, Fault> {
        if length.is_none_or(|length| length > COLLECTED) {
            return self.streamed(head, Stream::whole(body, length), length);
        }
        match self.collect(body, length).await? {
            Collected::Whole(bytes) => self.collected(head, bytes),
            Collected::Larger(..) => unreachable!("longer than its length is an error"),
        }
    }

    fn collected(&self, mut head: response::Parts, bytes: Bytes) -> Result<Outcome, Fault> {
        if let Some(encoding) = self.encoding(&mut head, Some(bytes.len() as u64)) {
            return self.sent(head, Stream::collected(bytes), None, Some(encoding));
        }
        if self.is_representation(&head) {
            return Ok(Representation::new(head.status, head.headers, bytes, false).answer_plainly(self.asked()));
        }
        head.headers.insert(CONTENT_LENGTH, bytes.len().into());
        Ok(Outcome::Response(Response::from_parts(head, Payload::whole(bytes))))
    }

    fn streamed(&self, mut head: response::Parts, stream: Stream, length: Option<u64>) -> Result<Outcome, Fault> {
        let encoding = self.encoding(&mut head, length);
        // Of what is encoded on the way, it is not known.
        let length = length.filter(|_| encoding.is_none());
        self.sent(head, stream, length, encoding)
    }

    fn sent(
        &self,
        head: response::Parts,
        stream: Stream,
        length: Option<u64>,
        encoding: Option<Encoding>,
    ) -> Result<Outcome, Fault> {
        let response = if self.is_representation(&head) {
            representation::stream(head.headers, stream, length, self.asked())?
        } else {
            Response::from_parts(head, Payload::stream(stream))
        };
        Ok(Outcome::Response(response.map(|payload| payload.encoded(encoding))))
    }

    fn encoding(&self, head: &mut response::Parts, length: Option<u64>) -> Option<Encoding> {
        self.house.gateway.encoders.settle(self.inbound.origin.client, &self.parts.headers, head, length)
    }

    fn bodiless(&self, mut head: response::Parts, body: Body, length: Option<u64>) -> Result<Outcome, Fault> {
        if self.is_representation(&head) {
            return self.streamed(head, Stream::whole(body, length), length);
        }
        // A HEAD's answer says what a GET's would.
        drop(self.encoding(&mut head, length));
        if self.parts.method != Method::HEAD {
            head.headers.remove(CONTENT_LENGTH);
        }
        Ok(Outcome::Response(Response::from_parts(head, Payload::empty())))
    }

    /// What the semantics of ranges and preconditions are for; the rest passes as it is.
    fn is_representation(&self, head: &response::Parts) -> bool {
        head.status == StatusCode::OK && matches!(self.parts.method, Method::GET | Method::HEAD)
    }

    async fn collect(&self, body: Body, length: Option<u64>) -> Result<Collected, Fault> {
        collect(body, length, COLLECTED).await.map_err(|error| match error.downcast::<Blame>() {
            Ok(blame) => (*blame).into(),
            Err(error) => Fault::Body(error.to_string()),
        })
    }

    /// What this request gets of a remembered answer; the form that it likes best is made where nobody asked for it yet.
    async fn encoded(&self, remembered: &Arc<Remembered>) -> Outcome {
        let outcome = present(&self.house, remembered, self.asked());
        let Outcome::Encode(coding) = outcome else { return outcome };
        remembered.representation.encode(coding, &self.memory().twins).await;
        self.memory().reweigh(&self.handed(), remembered);
        present(&self.house, remembered, self.asked())
    }

    /// The answer is for nobody else. Whoever asks the same next need not wait to learn that, but where it may be due to
    /// this request's own conditions.
    fn alone(&self, lead: &mut Option<Lead>) {
        let Some(lead) = lead.take() else { return };
        let conditions = [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];
        if !conditions.iter().any(|name| self.parts.headers.contains_key(name)) {
            self.memory().note_unremembered(lead.key());
        }
        lead.land(Landing::Alone);
    }

    /// The request as it is handed to the component.
    fn request(&self) -> Result<Request<()>, Fault> {
        let authority = self.inbound.authority();
        let scheme = self.inbound.origin.scheme.name();
        let target = match self.parts.uri.query() {
            Some(query) => format!("{scheme}://{authority}{}?{query}", self.path),
            None => format!("{scheme}://{authority}{}", self.path),
        };
        let mut request = Request::new(());
        if let Some(held) = &self.held {
            request.extensions_mut().insert(held.clone());
        }
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = Uri::try_from(target).map_err(|error| Fault::Decision(error.to_string()))?;
        let fields = request.headers_mut();
        fields.clone_from(&self.parts.headers);
        hop::strip(fields);
        // Answered by the host, when the guest reads on.
        fields.remove(EXPECT);
        coding::name_identity(fields);
        let host = self.inbound.host();
        forwarded::tell(fields, &self.house.line.hop, self.inbound.origin, &host);
        fields.insert(HOST, host);
        Ok(request)
    }

    fn conclude(&self, outcome: Outcome, visit: Visit) -> Response<Payload> {
        match outcome {
            Outcome::Response(response) => visit.pass(response, &self.forwarding().response_fields),
            Outcome::Fault(fault) => visit.fail(&fault, &self.parts.method, &self.parts.headers),
            Outcome::Encode(_) => unreachable!("made before"),
        }
    }

    fn upstream(&self) -> Upstream {
        let name = self.service.component.name().clone();
        Upstream { name, revision: Some(self.live.revision()), remembered: false }
    }

    fn memory(&self) -> &Memory {
        &self.house.gateway.memory
    }

    fn forwarding(&self) -> &Forwarding {
        forwarding(&self.decision)
    }

    fn handed(&self) -> Handed<'_> {
        let request::Parts { uri, headers, .. } = &self.parts;
        handed(self.live.id(), &self.inbound, &self.path, uri, headers, self.forwarding())
    }

    fn asked(&self) -> Asked<'_> {
        Asked { method: &self.parts.method, fields: &self.parts.headers, clock: &*self.house.gateway.clock }
    }
}

/// Whether an answer may be held whole. Events come as they happen: nobody waits for the last.
fn fits(head: &HeaderMap, length: Option<u64>) -> bool {
    let events = head.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
    length.map_or(!events, |length| length <= COLLECTED)
}

fn bad_answer(reason: String) -> Fault {
    Fault::Service(Failure::BadAnswer(reason))
}
