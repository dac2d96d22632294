//! `http://` and `https://`: a request each message, over the one client. A redirect of the first request is followed,
//! elsewhere only where no credentials could go along; credentials are sent when they are asked for.

mod challenge;
mod later;
mod redirect;
mod upload;

use std::{
    error::Error as _,
    io::{self, Read},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use atoll_net::{Client, Incoming, Origin, Proxies, ProxiesError, Secret};
use atoll_send_pack::{Connection, Pack, shown};
use bytes::{Buf as _, Bytes};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;

use self::{
    challenge::Scheme,
    upload::{Payload, Upload},
};
use super::{Line, Patience, Server, Service, Talk, Transport, line::Stage};
use crate::{
    disk::lock,
    smart::{AGENT, Denial, RESPITE, Respite},
};

/// As Git has it.
const MAX_REDIRECTS: usize = 20;

/// As much of an answer is read behind what it had to say, in bytes: its end, so that the connection can be used again.
const MAX_REST: usize = 64 * 1024;

/// And for so long. Who draws it out costs us a connection.
const REST: Duration = Duration::from_secs(1);

/// The most that is read of a page that says why not.
const MAX_REASON: usize = 512;

/// A repository behind a web server.
pub struct Http {
    client: Client,
    proxies: Proxies,
    /// Read each time that one is asked for, so that it can be changed.
    token: Option<Secret>,
    /// Where the repository is said to be.
    base: Base,
    learned: Mutex<Learned>,
}

/// What answers taught.
#[derive(Default)]
struct Learned {
    /// Where the repository is for good, after redirects that say so, until it fails to answer there: to be read, and to be
    /// pushed to.
    moved: [Option<Base>; 2],
    /// How the token is shown.
    scheme: Option<Scheme>,
}

/// The address of a repository.
#[derive(Clone)]
struct Base {
    origin: Origin,
    /// Without a slash at its end.
    path: String,
}

impl Http {
    /// `path` begins with a slash. `token` goes to `origin` alone.
    ///
    /// # Errors
    /// A proxy that cannot be used.
    pub fn server(
        client: &Client,
        proxies: &Proxies,
        origin: Origin,
        path: &str,
        token: Option<Secret>,
        patience: Patience,
    ) -> Result<Server, ProxiesError> {
        proxies.route(&origin)?;
        let name = format!("{origin}{path}");
        let base = Base { origin, path: path.trim_end_matches('/').to_owned() };
        let (client, proxies, learned) = (client.clone(), proxies.clone(), Mutex::default());
        Ok(Server::new(name, Self { client, proxies, token, base, learned }, patience))
    }

    fn credentials(&self, scheme: Option<Scheme>) -> io::Result<Option<HeaderValue>> {
        match (scheme, &self.token) {
            (Some(scheme), Some(token)) => scheme.credentials(token).map(Some),
            _ => Ok(None),
        }
    }
}

/// What makes a token useless, wherever it is sent. Blocks.
pub fn check_token(token: &Secret) -> io::Result<()> {
    Scheme::Basic.credentials(token).map(drop)
}

impl Transport for Http {
    fn open(&self, service: Service, line: &Line) -> io::Result<Box<dyn Talk + '_>> {
        let base = lock(&self.learned).moved[service as usize].clone().unwrap_or_else(|| self.base.clone());
        let (stage, body, chunk) = (line.talk(), None, Bytes::new());
        Ok(Box::new(Exchange { http: self, service, base, strayed: false, stage, body, chunk }))
    }

    fn failed(&self) {
        lock(&self.learned).moved = [None, None];
    }
}

/// A conversation.
struct Exchange<'a> {
    http: &'a Http,
    service: Service,
    /// Where it is held.
    base: Base,
    /// Whether that is so this time only.
    strayed: bool,
    stage: Stage,
    body: Option<Incoming>,
    chunk: Bytes,
}

impl Exchange<'_> {
    fn send(&self, payload: Option<&Payload>, scheme: Option<Scheme>) -> io::Result<Response<Incoming>> {
        let (base, service) = (&self.base, self.service.name());
        let mut request = Request::builder().header(USER_AGENT, AGENT);
        if let Some(version) = self.service.version() {
            request = request.header("git-protocol", version);
        }
        let request = match payload {
            None => request
                .method(Method::GET)
                .uri(format!("{}/info/refs?service={service}", base.path))
                .header("pragma", "no-cache")
                .header(ACCEPT, "*/*"),
            Some(_) => request
                .method(Method::POST)
                .uri(format!("{}/{service}", base.path))
                .header(CONTENT_TYPE, format!("application/x-{service}-request"))
                .header(ACCEPT, format!("application/x-{service}-result")),
        };
        let sent = Arc::<AtomicU64>::default();
        let body = Upload::new(payload.cloned().unwrap_or_default(), sent.clone());
        let mut request = request.body(body).map_err(io::Error::other)?;
        if let Some(credentials) = self.http.credentials(scheme)? {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        let origin = self.http.proxies.route(&base.origin).map_err(io::Error::other)?;
        let send = async { self.http.client.send(&origin, request).await.map_err(io::Error::other) };
        self.stage.wait_while(&sent, send)
    }

    /// What may answer in the server's place: over TLS it can't.
    fn proxy(&self) -> Option<String> {
        let origin = self.http.proxies.route(&self.base.origin).ok()?;
        let target = origin.target();
        target.via.as_ref().filter(|_| target.tls.is_none()).map(ToString::to_string)
    }

    /// Sends, and shows credentials where they are asked for.
    fn authorized(&self, payload: Option<&Payload>) -> io::Result<Response<Incoming>> {
        let scheme = lock(&self.http.learned).scheme;
        let response = self.send(payload, scheme)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let denied = |log: &str| io::Error::other(Denial::new(answers("server", StatusCode::UNAUTHORIZED, ""), log));
        let Some(token) = &self.http.token else {
            if let Some(proxy) = self.proxy() {
                // Some proxies say so of themselves, too.
                return Err(io::Error::other(format!(
                    "the proxy {proxy}, or the server behind it, answers {}: what the proxy is shown is in the variable that names it, and plain HTTP carries no credentials to a server: use https:// or ssh://",
                    StatusCode::UNAUTHORIZED
                )));
            }
            return Err(denied(if self.base.origin.target().tls.is_some() {
                "the server asks for credentials: put a token in a file and name it, token = \"FILE\""
            } else {
                "the server asks for credentials, which plain HTTP does not carry: use https:// or ssh://"
            }));
        };
        let refused = || denied(&format!("the server refuses the token in {token}"));
        if scheme.is_some() {
            // It may know another way by now.
            lock(&self.http.learned).scheme = None;
            return Err(refused());
        }
        let asked = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let scheme = Scheme::of(asked.filter_map(|value| value.to_str().ok()))
            .ok_or_else(|| denied("the server asks for credentials of another kind than Basic and Bearer"))?;
        let response = self.send(payload, Some(scheme))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(refused());
        }
        lock(&self.http.learned).scheme = Some(scheme);
        Ok(response)
    }

    fn post(&mut self, payload: &Payload) -> io::Result<()> {
        self.chunk = Bytes::new();
        if let Some(body) = self.body.take() {
            self.stage.spare(REST, rest(body));
        }
        let response = self.authorized(Some(payload))?;
        self.take(response, "result")
    }

    /// Takes an answer for the one that is read, if it is one.
    fn take(&mut self, response: Response<Incoming>, kind: &str) -> io::Result<()> {
        let expected = format!("application/x-{}-{kind}", self.service.name());
        let status = response.status();
        let found = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim();
        if status == StatusCode::OK && essence.eq_ignore_ascii_case(&expected) {
            self.body = Some(response.into_body());
            return Ok(());
        }
        if status == StatusCode::OK {
            let found = shown(found.as_bytes());
            return Err(io::Error::other(format!(
                "no repository answers there: what came is \"{found}\", and not {expected}"
            )));
        }
        let (plain, later) = (found.starts_with("text/plain"), response.headers().contains_key(RETRY_AFTER));
        let now = SystemTime::now();
        let respite = later::respite(status, response.headers(), now);
        let said = later::said(response.headers(), now).map(|said| format!("{RESPITE}{said}")).unwrap_or_default();
        let reason = if plain { self.reason(response.into_body()) } else { String::new() };
        let who = match self.proxy() {
            _ if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED => "server".to_owned(),
            Some(proxy) => format!("proxy {proxy}"),
            None => "proxy".to_owned(),
        };
        let answer = answers(&who, status, &reason);
        if is_final(status) && !later {
            return Err(io::Error::other(Denial::new(answer.clone(), answer)));
        }
        Err(respite.map_or_else(
            || io::Error::other(answer.clone()),
            |wait| {
                let words = format!("{answer}{said}");
                io::Error::other(Respite { words, wait })
            },
        ))
    }

    /// The beginning of a page in plain text.
    fn reason(&self, mut body: Incoming) -> String {
        let first = self.stage.wait(async {
            let frame = body.frame().await.transpose().map_err(io::Error::other)?;
            Ok(frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default())
        });
        let Ok(first) = first else { return String::new() };
        let words = shown(&first[..first.len().min(MAX_REASON)]);
        if words.is_empty() { words } else { format!(": \"{words}\"") }
    }
}

/// Of the last answer, too.
impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.stage.leave(REST, rest(body));
        }
    }
}

/// Reads what is left.
async fn rest(mut body: Incoming) {
    let mut left = MAX_REST;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = less;
    }
}

impl Connection for Exchange<'_> {
    fn greet(&mut self) -> io::Result<()> {
        let mut redirected = false;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.authorized(None)?;
            let status = response.status();
            if !status.is_redirection() {
                self.take(response, "advertisement")?;
                if redirected && !self.strayed {
                    lock(&self.http.learned).moved[self.service as usize] = Some(self.base.clone());
                }
                return Ok(());
            }
            redirected = true;
            self.strayed |= !matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT);
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            self.base = redirect::follow(&self.base, location, self.service, self.http.token.is_some())?;
        }
        Err(io::Error::other("the server redirects without end"))
    }

    fn push(&mut self, message: &[u8], pack: Option<&Pack>) -> io::Result<()> {
        self.stage.pack();
        self.post(&Payload { message: Bytes::copy_from_slice(message), pack: pack.cloned() })
    }

    fn pack_follows(&mut self) {
        self.stage.pack();
    }

    fn talk_follows(&mut self) {
        self.stage.talk();
    }
}

impl Talk for Exchange<'_> {
    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        self.post(&Payload { message: Bytes::copy_from_slice(message), pack: None })
    }

    fn stateless(&self) -> bool {
        true
    }

    fn strays(&self) -> bool {
        self.strayed
    }
}

impl Read for Exchange<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !out.is_empty() {
            let Some(body) = &mut self.body else { return Ok(0) };
            let frame = self.stage.wait(async { body.frame().await.transpose().map_err(broken) })?;
            match frame {
                Some(frame) => self.chunk = frame.into_data().unwrap_or_default(),
                None => self.body = None,
            }
        }
        let length = out.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}

/// Whether it would be answered the next time too: a server that is out of order, or wants us to wait, is another matter. One
/// that says until when (RFC 9110, section 10.2.3) does too, by whatever status.
fn is_final(status: StatusCode) -> bool {
    let passes = [
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::MISDIRECTED_REQUEST,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !passes.contains(&status)
}

fn answers(who: &str, status: StatusCode, reason: &str) -> String {
    format!("the {who} answers {status}{reason}")
}

fn broken(error: hyper::Error) -> io::Error {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let kind = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).next();
    io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error)
}
