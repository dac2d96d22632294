//! What the tests of this crate stand on: authorities made on the spot, servers on loopback, a resolver that is a table;
//! and whether a program is here that they drive.

#[path = "../../../tests/support/skip.rs"]
mod skip;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Dialler, Egress, Host, Lookup, Place, Resolve, Target, Tls};

pub(crate) use skip::missing;

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Every name is at these addresses. Counts how often it was asked.
#[derive(Clone, Default)]
pub(crate) struct Everywhere {
    addresses: Vec<IpAddr>,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Everywhere {
    pub(crate) fn at(addresses: &[&str]) -> Self {
        Self { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(), asked: Arc::default() }
    }

    pub(crate) fn dialler(&self) -> Dialler {
        Dialler::new(self.clone())
    }
}

impl Resolve for Everywhere {
    fn resolve(&self, _: &str) -> Lookup {
        self.asked.fetch_add(1, SeqCst);
        let addresses = self.addresses.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// Never answers, or always with an error.
pub(crate) enum Nobody {
    Silent,
    Failing,
}

impl Resolve for Nobody {
    fn resolve(&self, _: &str) -> Lookup {
        match self {
            Nobody::Silent => Box::pin(std::future::pending()),
            Nobody::Failing => Box::pin(async { Err(io::Error::other("no such name")) }),
        }
    }
}

pub(crate) fn target(host: &str, port: u16, tls: Option<&Tls>, egress: Egress) -> Target {
    Target { place: Place::Tcp { host: Host::parse(host).unwrap(), port }, tls: tls.cloned(), egress, via: None }
}

/// An authority that signs what the test wants.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own: two authorities of one name are taken for one with two keys.
        params.distinguished_name.push(DnType::CommonName, format!("{:?}", key.public_key_raw()));
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn tls(&self, protocols: &[&[u8]]) -> Tls {
        Tls::with_roots("ca.pem", self.0.pem().as_bytes(), protocols).unwrap()
    }

    /// Chain and key as PEM.
    pub(crate) fn issue(&self, names: &[&str], until: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    pub(crate) fn acceptor(&self, names: &[&str], until: i32, protocols: &[&[u8]]) -> TlsAcceptor {
        let (certificate, key) = self.issue(names, until);
        acceptor(&certificate, &key, protocols)
    }

    /// A server that shows the authority's own certificate.
    pub(crate) fn own_acceptor(&self) -> TlsAcceptor {
        acceptor(self.0.as_ref(), self.0.key(), &[])
    }
}

fn acceptor(certificate: &rcgen::Certificate, key: &KeyPair, protocols: &[&[u8]]) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A listener on loopback whose connections `serve` gets, each in a task, with its number from 0.
pub(crate) async fn listen<F, S>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket, number));
        }
    });
    address
}

/// As `listen`, over TLS. Handshakes that fail are not heard of.
pub(crate) async fn listen_tls<F, S>(acceptor: TlsAcceptor, serve: F) -> SocketAddr
where
    F: Fn(TlsStream<TcpStream>, usize) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    listen(move |socket, number| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(socket).await {
                serve(stream, number).await;
            }
        }
    })
    .await
}
