//! A socket to a TLS stream. The ClientHello is read first, and the certificate found by the name in it; who asks for a
//! name that we have none for gets an alert, never another's certificate. No early data: a request is never a replay.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CipherSuite, ServerConfig,
    crypto::aws_lc_rs,
    server::{Accepted, NoServerSessionStorage, ResolvesServerCertUsingSni},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{timeout, timeout_at},
};
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::{
    Certificate, Challenges, LocalCa, LocalCaError, Resolver, Tickets,
    hello::{self, Refusal},
};

/// A fatal alert as a record of its own, before any key is agreed on (RFC 8446, sections 5.1 and 6).
const fn alert(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, description]
}
const UNEXPECTED_MESSAGE: u8 = 10;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// RFC 8737, section 6.2.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// How long, and how much, we listen to a client that was refused, so that what we said is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const DISCARDED: usize = 64 * 1024;

const HTTP_ON_TLS: &str = "This port speaks HTTPS: use https:// in place of http:// in the address.\n";

/// What a listener's handshakes are made of.
#[derive(Clone)]
pub struct Options {
    pub certificates: Arc<Resolver>,
    /// For names that no certificate covers, on loopback listeners alone.
    pub local: Option<Arc<LocalCa>>,
    pub challenges: Arc<Challenges>,
    pub tickets: Tickets,
}

/// Makes TLS streams of the connections of one listener.
pub struct Acceptor {
    options: Options,
    /// Copied for each handshake, with the certificate put in: some counters go up.
    settings: ServerConfig,
}

/// What ALPN agreed on; HTTP/1.1 where the client does not know ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A connection after its handshake.
pub struct Secured<S> {
    pub stream: TlsStream<S>,
    pub protocol: Protocol,
    pub certificate: Arc<Certificate>,
    /// Lower case, without a trailing dot.
    pub server_name: Option<Box<str>>,
}

impl<S> Secured<S> {
    /// Whether requests for `host` may come over this connection (RFC 9110, section 7.4). For the name that the client
    /// connected with it compares two strings.
    pub fn covers(&self, host: &str) -> bool {
        self.server_name.as_deref() == Some(host) || self.certificate.covers(host)
    }
}

/// Why a connection came to nothing. The client was told what it can be told.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("the client left before its handshake was over")]
    Left,
    #[error("no handshake in time")]
    TimedOut,
    #[error("plain http on a tls port")]
    PlainHttp,
    #[error("a client hello too large")]
    TooLarge,
    #[error("no tls: {0}")]
    Malformed(rustls::Error),
    #[error("no certificate for {0:?}")]
    UnknownName(Box<str>),
    #[error("no server name, and no certificate for {0}")]
    Nameless(IpAddr),
    #[error("handshake: {0}")]
    Handshake(rustls::Error),
    /// A certification authority looked at a challenge's answer: as it should be.
    #[error("a challenge was answered")]
    Challenge,
    #[error("local certificate: {0}")]
    Local(#[from] LocalCaError),
    #[error(transparent)]
    Io(io::Error),
}

impl Acceptor {
    pub fn new(options: Options) -> Self {
        let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        settings.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        // State is the client's to keep.
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.ticketer = options.tickets.producer();
        // Each resumption gives a new one.
        settings.send_tls13_tickets = 1;
        Self { options, settings }
    }

    /// `local` is the address that the client connected to; `limit` is how long all of it may take.
    pub async fn accept<S>(
        &self,
        mut socket: S,
        local: IpAddr,
        now: SystemTime,
        limit: Duration,
    ) -> Result<Secured<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = tokio::time::Instant::now() + limit;
        // In a box, so that a handshake's 8 KiB are not held for as long as the connection lives.
        let handshake = Box::pin(async move {
            match hello::read(&mut socket).await {
                Ok(hello) => self.answer(hello, socket, local, now).await,
                Err(refusal) => Err(refuse(refusal, socket).await),
            }
        });
        timeout_at(deadline, handshake).await.unwrap_or(Err(AcceptError::TimedOut))
    }

    async fn answer<S>(
        &self,
        accepted: Accepted,
        socket: S,
        local: IpAddr,
        now: SystemTime,
    ) -> Result<Secured<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = accepted.client_hello();
        let server_name: Option<Box<str>> = hello.server_name().map(|name| name.trim_end_matches('.').into());
        if let Some(challenge) = self.challenge(&hello, server_name.as_deref()) {
            let mut settings = self.settings.clone();
            settings.alpn_protocols = vec![ACME_TLS.into()];
            let mut stream = finish(settings, challenge, accepted, socket).await?;
            let _ = stream.shutdown().await;
            return Err(AcceptError::Challenge);
        }
        let certificate = match self.certificate(server_name.as_deref(), local, now).await {
            Ok(Some(certificate)) => certificate,
            Ok(None) => {
                say(socket, &alert(UNRECOGNIZED_NAME)).await;
                return Err(server_name.map_or(AcceptError::Nameless(local), AcceptError::UnknownName));
            }
            Err(error) => {
                say(socket, &alert(INTERNAL_ERROR)).await;
                return Err(error.into());
            }
        };
        let mut settings = self.settings.clone();
        settings.ignore_client_order = !wants_chacha(hello.cipher_suites());
        let stream = finish(settings, certificate.clone(), accepted, socket).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok(Secured { stream, protocol, certificate, server_name })
    }

    async fn certificate(
        &self,
        name: Option<&str>,
        local: IpAddr,
        now: SystemTime,
    ) -> Result<Option<Arc<Certificate>>, LocalCaError> {
        let held = match name {
            Some(name) => self.options.certificates.by_name(name),
            None => self.options.certificates.by_address(local),
        };
        match (held, &self.options.local) {
            (None, Some(authority)) => authority.certificate(name, local, now).await,
            (held, _) => Ok(held),
        }
    }

    fn challenge(&self, hello: &rustls::server::ClientHello<'_>, name: Option<&str>) -> Option<Arc<Certificate>> {
        let only = hello.alpn()?.eq([ACME_TLS]);
        if only { self.options.challenges.tls(name?) } else { None }
    }
}

/// Whether a client's first wish is ChaCha20: it has nothing in hardware for AES. Else the order is ours.
fn wants_chacha(suites: &[CipherSuite]) -> bool {
    let grease =
        |suite: &CipherSuite| matches!(u16::from(*suite).to_be_bytes(), [one, two] if one == two && one & 15 == 10);
    matches!(
        suites.iter().find(|suite| !grease(suite)),
        Some(
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    )
}

async fn finish<S>(
    mut settings: ServerConfig,
    certificate: Arc<Certificate>,
    accepted: Accepted,
    socket: S,
) -> Result<TlsStream<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    settings.cert_resolver = certificate;
    let handshake = StartHandshake::from_parts(accepted, socket).into_stream(Arc::new(settings));
    handshake.await.map_err(|error| match error.downcast::<rustls::Error>() {
        Ok(error) => AcceptError::Handshake(error),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => AcceptError::Left,
        Err(error) => AcceptError::Io(error),
    })
}

/// Tells the client what can be told.
async fn refuse<S>(refusal: Refusal, socket: S) -> AcceptError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match refusal {
        Refusal::Left => AcceptError::Left,
        Refusal::Io(error) => AcceptError::Io(error),
        Refusal::Http => {
            let length = HTTP_ON_TLS.len();
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close";
            say(socket, format!("{head}\r\ncontent-length: {length}\r\n\r\n{HTTP_ON_TLS}").as_bytes()).await;
            AcceptError::PlainHttp
        }
        Refusal::TooLarge => {
            say(socket, &alert(ILLEGAL_PARAMETER)).await;
            AcceptError::TooLarge
        }
        Refusal::Malformed(error, told) => {
            // Some errors come without an alert.
            let fallback = alert(match error {
                rustls::Error::InappropriateMessage { .. } => UNEXPECTED_MESSAGE,
                _ => DECODE_ERROR,
            });
            say(socket, if told.is_empty() { &fallback } else { &told }).await;
            AcceptError::Malformed(error)
        }
    }
}

/// The last words on a connection. What the client still sends is read away for a while: closing over unread bytes makes
/// the kernel reset the connection, and drop what we said.
async fn say<S>(mut socket: S, words: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        socket.write_all(words).await?;
        socket.shutdown().await?;
        let mut discarded = 0;
        while discarded < DISCARDED {
            match socket.read(&mut [0; 512]).await? {
                0 => break,
                read => discarded += read,
            }
        }
        Ok::<_, io::Error>(())
    };
    // The client may well be gone, and nothing is lost then.
    let _ = timeout(LINGER, farewell).await;
}

#[cfg(test)]
mod tests;
