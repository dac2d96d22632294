//! From an accepted socket to what serves it: who is there, by a PROXY header where one is awaited, then TLS, then HTTP.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use atoll_gateway::{
    Complaints,
    http::{self, Admission, Gateway, Peer},
    tls::{self, AcceptError, Acceptor, Secured},
};
use atoll_net::{Accepted, Socket};
use atoll_runtime::{Journal, Level};

use crate::journal::Log;

/// One listener's way in.
pub(super) struct Door {
    pub(super) gateway: Arc<Gateway>,
    /// None where HTTP is spoken without TLS.
    pub(super) acceptor: Option<Arc<Acceptor>>,
    pub(super) log: Arc<Log>,
    /// Clients that asked for a name without a certificate.
    pub(super) nameless: Arc<Complaints>,
}

impl Door {
    /// Serves it; `proxied` where it begins with a PROXY header.
    pub(super) fn take_in(self: Arc<Self>, accepted: Accepted, proxied: bool) {
        if proxied {
            if let Some(admission) = self.gateway.admit_stranger() {
                tokio::spawn(self.introduced(admission, accepted));
            }
            return;
        }
        // One whose client has too many ends here.
        if let Some(admission) = self.gateway.admit(accepted.client.ip()) {
            tokio::spawn(self.connection(admission, accepted));
        }
    }

    /// A connection that somebody else took in first, and says of whom.
    async fn introduced(self: Arc<Self>, admission: Admission, mut accepted: Accepted) {
        let limit = self.gateway.limits().handshake;
        let header = tokio::select! {
            biased;
            () = admission.revoked() => return,
            header = tokio::time::timeout(limit, atoll_net::proxied(&mut accepted.socket)) => header,
        };
        // Who is not introduced is nobody's client.
        let Ok(Ok(client)) = header else { return };
        accepted.client = client.unwrap_or(accepted.client);
        if self.gateway.introduce(&admission, accepted.client.ip()) {
            self.connection(admission, accepted).await;
        }
    }

    /// One connection, from its first byte to its last.
    async fn connection(self: Arc<Self>, admission: Admission, accepted: Accepted) {
        let Accepted { socket, client, local, permit } = accepted;
        let socket = Socket(socket);
        let peer = |protocol, certificate| Peer { address: client, port: local.port(), protocol, certificate };
        match &self.acceptor {
            None => self.gateway.clone().serve(socket, peer(http::Protocol::Http1, None), admission).await,
            Some(acceptor) => {
                let limit = self.gateway.limits().handshake;
                let secured = tokio::select! {
                    biased;
                    () = admission.revoked() => return,
                    secured = acceptor.accept(socket, local.ip(), SystemTime::now(), limit) => secured,
                };
                let Secured { stream, protocol, certificate, server_name } = match secured {
                    Ok(secured) => secured,
                    Err(error) => return self.turned_away(client, &error),
                };
                let shown = Arc::new(Shown { certificate, server_name });
                self.gateway.clone().serve(stream, peer(protocol, Some(shown)), admission).await;
            }
        }
        drop(permit);
    }

    /// The client was told what it can be told. Of a certificate that is missing its owner wants to hear too.
    fn turned_away(&self, client: SocketAddr, error: &AcceptError) {
        if !matches!(error, AcceptError::UnknownName(_) | AcceptError::Nameless(_) | AcceptError::Local(_)) {
            return;
        }
        if let Some(more) = self.nameless.failed(std::time::Instant::now()) {
            let words = format!("{} was refused: {error}{more}", client.ip());
            (&*self.log as &dyn Journal).host(Level::Warning, words);
        }
    }
}

/// A connection's certificate, as the gateway asks about it.
struct Shown {
    certificate: Arc<tls::Certificate>,
    server_name: Option<Box<str>>,
}

impl http::Certificate for Shown {
    fn covers(&self, name: &str) -> bool {
        self.server_name.as_deref() == Some(name) || self.certificate.covers(name)
    }

    fn public(&self) -> bool {
        self.certificate.is_publicly_trusted()
    }
}
