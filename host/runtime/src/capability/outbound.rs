//! `wasi:http`: which fields a guest may see and set, and the way out through `Outbound`.

use std::sync::Arc;

use http::HeaderName;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use crate::{
    OutboundError,
    body::{HostBody, Origin},
    capability::stdio::printable,
    ctx::{Answering, Given},
};

/// What the host needs to know to send requests of one instance.
pub(crate) struct Hooks {
    given: Arc<Given>,
    answering: Answering,
    origin: Origin,
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl Hooks {
    pub(crate) fn new(given: &Arc<Given>, answering: &Answering, origin: &Origin) -> Self {
        Self { given: given.clone(), answering: answering.clone(), origin: origin.clone() }
    }
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name) || *name == http::header::TE)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        self.answering.uses_the_world();
        drop(done);
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let wanted = request.uri().clone();
        let sent = self.given.outbound.send(request);
        let given = self.given.clone();
        let origin = self.origin.clone();
        Box::new(async move {
            let response =
                sent.await.inspect_err(|error| told(&given, &wanted, error)).map_err(|error| error_code(&error))?;
            let response = response.map(|body| HostBody::new(body, origin).boxed_unsync());
            let nothing_more: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, nothing_more))
        })
    }
}

/// Says what would have allowed it.
fn told(given: &Given, wanted: &http::Uri, error: &OutboundError) {
    let (Some(scheme), Some(authority)) = (wanted.scheme_str(), wanted.authority()) else { return };
    if given.proving {
        // Then nothing is.
        return;
    }
    let origin = printable(format!("{scheme}://{authority}").as_bytes());
    match error {
        OutboundError::Denied => {
            given.tell_denied(&format!("for {origin}, which is not granted"), &format!("http = [\"{origin}\"]"));
        }
        OutboundError::AddressDenied => given.tell_denied(
            &format!("for {origin}, which leads to no public address"),
            &format!("http = [\"{scheme}://ADDRESS:PORT\"], if it is meant to"),
        ),
        _ => {}
    }
}

fn error_code(error: &OutboundError) -> Error {
    match error {
        OutboundError::Denied => Error::HttpRequestDenied,
        OutboundError::AddressDenied => Error::DestinationIpProhibited,
        OutboundError::NameNotFound => Error::DestinationNotFound,
        OutboundError::Refused => Error::ConnectionRefused,
        OutboundError::TimedOut => Error::ConnectionTimeout,
        OutboundError::Untrusted => Error::TlsCertificateError,
        OutboundError::Protocol => Error::HttpProtocolError,
    }
}
