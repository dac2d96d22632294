//! The semantics of a representation, once for all services: a whole answer, and what a request gets of it (RFC 9110): 304
//! or 412 by its preconditions, parts by its ranges, the coding that it likes best, the head alone.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use atoll_semantics::{
    coding::{self, Coding},
    precondition::{self, Condition},
    range::{self, Wanted},
    vary,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE,
    },
};
use tokio::sync::OnceCell;

use crate::http::{
    clock::Clock,
    encoding::encode,
    payload::{Payload, Stream},
    rescue::Fault,
    usual,
};

/// Above this, encoding is not for the event loop: it takes some 0.3 ms.
const INLINE: usize = 8 * 1024;

/// What a request asks of a representation.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) fields: &'a HeaderMap,
    pub(super) clock: &'a dyn Clock,
}

/// A whole answer, and its encoded forms, each made when it is first asked for.
pub(super) struct Representation {
    status: StatusCode,
    identity: Arc<Form>,
    /// None where it is not to be encoded.
    encoded: Option<Box<Encoded>>,
}

#[derive(Default)]
struct Encoded {
    /// None where the coding is not worth it.
    brotli: OnceCell<Option<Arc<Form>>>,
    gzip: OnceCell<Option<Arc<Form>>>,
}

/// One form, with the head that goes before it.
#[derive(PartialEq, Eq)]
struct Form {
    head: HeaderMap,
    body: Bytes,
}

/// What comes of a request.
pub(super) enum Outcome {
    Response(Response<Payload>),
    Fault(Fault),
    /// Make this form first.
    Encode(Coding),
}

impl Representation {
    /// A whole answer; `encode` where it will be kept, so that an encoded form is worth making.
    pub(super) fn new(status: StatusCode, mut head: HeaderMap, body: Bytes, encode: bool) -> Self {
        head.insert(CONTENT_LENGTH, body.len().into());
        let mut encoded = None;
        if status == StatusCode::OK {
            head.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
            if encode && coding::compressible(&head, Some(body.len() as u64)) {
                vary::add(&mut head, &ACCEPT_ENCODING);
                encoded = Some(Box::default());
            }
        }
        if encode {
            usual::settle(&mut head);
        }
        Self { status, identity: Arc::new(Form { head, body }), encoded }
    }

    /// What a request gets.
    pub(super) fn answer(&self, asked: Asked<'_>) -> Outcome {
        match self.form(asked.fields) {
            Ok(form) => self.of_form(form, asked),
            Err(coding) => Outcome::Encode(coding),
        }
    }

    /// The same, of the bytes as they are: nothing is worth making.
    pub(super) fn answer_plainly(&self, asked: Asked<'_>) -> Outcome {
        self.of_form(&self.identity, asked)
    }

    fn of_form(&self, form: &Form, asked: Asked<'_>) -> Outcome {
        if self.status != StatusCode::OK {
            return Outcome::Response(form.whole(self.status, asked.method));
        }
        match precondition::evaluate(asked.fields, &form.head) {
            Condition::Failed => Outcome::Fault(Fault::Precondition),
            Condition::NotModified => Outcome::Response(not_modified(&form.head)),
            Condition::Met => form.part(asked),
        }
    }

    /// Is held once with what is the same.
    pub(super) fn join(&mut self, twins: &Twins) {
        twins.join(&mut self.identity);
    }

    /// Makes a form that `answer` asked for. Once: who comes meanwhile waits.
    pub(super) async fn encode(&self, coding: Coding, twins: &Twins) {
        let Some(cell) = self.cell(coding) else { return };
        cell.get_or_init(async || {
            let body = self.identity.body.clone();
            let encoded = if body.len() <= INLINE {
                encode(&body, coding)
            } else {
                let making = tokio::task::spawn_blocking(move || encode(&body, coding));
                making.await.unwrap_or_default()
            };
            let body = encoded?;
            let mut head = self.identity.head.clone();
            coding::mark(&mut head, coding);
            head.insert(CONTENT_LENGTH, body.len().into());
            usual::settle(&mut head);
            let mut form = Arc::new(Form { head, body });
            twins.join(&mut form);
            Some(form)
        })
        .await;
    }

    /// As it came, for somebody who does not keep it.
    pub(super) fn whole(&self) -> (http::response::Parts, Bytes) {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = self.status;
        parts.headers.clone_from(&self.identity.head);
        (parts, self.identity.body.clone())
    }

    /// Bytes that it takes to keep, with the forms that there are.
    pub(super) fn weight(&self) -> usize {
        let encoded = self.encoded.as_deref();
        let made = encoded.into_iter().flat_map(|encoded| [&encoded.brotli, &encoded.gzip]);
        let forms = made.filter_map(|cell| cell.get()?.as_deref()).map(Form::weight);
        size_of::<Self>() + encoded.map_or(0, size_of_val) + self.identity.weight() + forms.sum::<usize>()
    }

    pub(super) fn head(&self) -> &HeaderMap {
        &self.identity.head
    }

    /// The form that a request likes best of those that there are; the coding, where that has to be made first.
    fn form(&self, request: &HeaderMap) -> Result<&Form, Coding> {
        let Some(encoded) = self.encoded.as_deref() else { return Ok(&self.identity) };
        if request.contains_key(RANGE) {
            return Ok(self.ranged(request, encoded));
        }
        let coding = coding::preferred(request);
        let Some(cell) = self.cell(coding) else { return Ok(&self.identity) };
        match cell.get() {
            Some(form) => Ok(form.as_ref().unwrap_or(&self.identity)),
            None => Err(coding),
        }
    }

    /// Of which form a range is: the bytes as they are, but where the client says that it has a part of an encoded one.
    fn ranged<'a>(&'a self, request: &HeaderMap, encoded: &'a Encoded) -> &'a Form {
        let of = |coding, cell: &'a OnceCell<Option<Arc<Form>>>| {
            let form = cell.get()?.as_deref()?;
            let named = request.get(IF_RANGE).is_some_and(|wanted| form.head.get(ETAG) == Some(wanted));
            (named && coding::accepted(request, coding)).then_some(form)
        };
        of(Coding::Brotli, &encoded.brotli).or_else(|| of(Coding::Gzip, &encoded.gzip)).unwrap_or(&self.identity)
    }

    fn cell(&self, coding: Coding) -> Option<&OnceCell<Option<Arc<Form>>>> {
        let encoded = self.encoded.as_deref()?;
        match coding {
            Coding::Identity => None,
            Coding::Brotli => Some(&encoded.brotli),
            Coding::Gzip => Some(&encoded.gzip),
        }
    }
}

impl Form {
    fn whole(&self, status: StatusCode, method: &Method) -> Response<Payload> {
        let payload = if *method == Method::HEAD { Payload::empty() } else { Payload::whole(self.body.clone()) };
        response(status, self.head.clone(), payload)
    }

    /// The whole, or what a `Range` asks for.
    fn part(&self, asked: Asked<'_>) -> Outcome {
        let length = self.body.len() as u64;
        let wanted = wanted(asked, &self.head, Some(length));
        let (head, payload) = match wanted {
            Wanted::Whole => return Outcome::Response(self.whole(StatusCode::OK, asked.method)),
            Wanted::Unsatisfiable => return Outcome::Fault(Fault::Range { length }),
            Wanted::One(span) => {
                let mut head = self.head.clone();
                head.insert(CONTENT_RANGE, span.content_range(length));
                head.insert(CONTENT_LENGTH, span.length().into());
                (head, Payload::whole(span.of(&self.body)))
            }
            Wanted::Several(spans) => {
                let boundary = boundary();
                let parts = range::multipart(&self.body, &spans, self.head.get(CONTENT_TYPE), &boundary);
                let mut head = self.head.clone();
                let media = format!("multipart/byteranges; boundary={boundary}");
                head.insert(CONTENT_TYPE, HeaderValue::try_from(media).expect("a boundary is a word"));
                head.insert(CONTENT_LENGTH, parts.iter().map(Bytes::len).sum::<usize>().into());
                (head, Payload::parts(parts))
            }
        };
        Outcome::Response(response(StatusCode::PARTIAL_CONTENT, head, payload))
    }

    fn weight(&self) -> usize {
        let fields: usize = self.head.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        self.body.len() + fields
    }
}

/// What a request gets of an answer 200 that is not held whole: preconditions as ever, and one range, cut on the way.
pub(super) fn stream(
    mut head: HeaderMap,
    body: Stream,
    length: Option<u64>,
    asked: Asked<'_>,
) -> Result<Response<Payload>, Fault> {
    match precondition::evaluate(asked.fields, &head) {
        Condition::Failed => return Err(Fault::Precondition),
        Condition::NotModified => return Ok(not_modified(&head)),
        Condition::Met => {}
    }
    if let Some(length) = length {
        head.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
        head.insert(CONTENT_LENGTH, length.into());
    }
    match (wanted(asked, &head, length), length) {
        (Wanted::Unsatisfiable, Some(length)) => Err(Fault::Range { length }),
        (Wanted::One(span), Some(length)) => {
            head.insert(CONTENT_RANGE, span.content_range(length));
            head.insert(CONTENT_LENGTH, span.length().into());
            let payload = Payload::stream(body.cut(span.first, span.length()));
            Ok(response(StatusCode::PARTIAL_CONTENT, head, payload))
        }
        // Several ranges of what passes by once would have to be in order, and apart: the whole it is.
        _ if *asked.method == Method::HEAD => Ok(response(StatusCode::OK, head, Payload::empty())),
        _ => Ok(response(StatusCode::OK, head, Payload::stream(body))),
    }
}

fn wanted(asked: Asked<'_>, head: &HeaderMap, length: Option<u64>) -> Wanted {
    match length {
        Some(length)
            if *asked.method == Method::GET
                && asked.fields.contains_key(RANGE)
                && head.get(ACCEPT_RANGES).is_none_or(|unit| unit != "none")
                && precondition::range_applies(asked.fields, head, asked.clock.wall()) =>
        {
            range::wanted(asked.fields, length)
        }
        _ => Wanted::Whole,
    }
}

/// RFC 9110 section 15.4.5: the fields that a 200 would have had, less those that describe the bytes that don't come.
fn not_modified(head: &HeaderMap) -> Response<Payload> {
    let mut head = head.clone();
    for name in [&ACCEPT_RANGES, &CONTENT_ENCODING, &CONTENT_LANGUAGE, &CONTENT_LENGTH, &CONTENT_TYPE] {
        head.remove(name);
    }
    if head.contains_key(ETAG) {
        head.remove(LAST_MODIFIED);
    }
    response(StatusCode::NOT_MODIFIED, head, Payload::empty())
}

/// A word that nobody could have put in a body beforehand.
fn boundary() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

fn response(status: StatusCode, head: HeaderMap, payload: Payload) -> Response<Payload> {
    let mut response = Response::new(payload);
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}

#[cfg(test)]
mod tests;
mod twins;

pub(super) use twins::Twins;
