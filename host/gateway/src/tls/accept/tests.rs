mod bytes;
mod clients;

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, pki_types::ServerName};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{
    Admits,
    testing::{Authority, missing},
};

const LIMIT: Duration = Duration::from_secs(5);

/// A listener that greets whoever ends a handshake, and tells what became of each connection.
struct Server {
    address: SocketAddr,
    certificates: Arc<Resolver>,
    challenges: Arc<Challenges>,
    outcomes: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(certificates: &[Arc<Certificate>]) -> Self {
        Self::with(certificates, None, Tickets::new().unwrap(), LIMIT).await
    }

    async fn with(
        certificates: &[Arc<Certificate>],
        local: Option<Arc<LocalCa>>,
        tickets: Tickets,
        limit: Duration,
    ) -> Self {
        let resolver = Arc::new(Resolver::default());
        resolver.replace(certificates, std::time::SystemTime::now());
        let challenges = Arc::new(Challenges::default());
        let options = Options { certificates: resolver.clone(), local, challenges: challenges.clone(), tickets };
        let acceptor = Arc::new(Acceptor::new(options));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, outcomes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, told) = (acceptor.clone(), told.clone());
                tokio::spawn(async move {
                    let outcome = match acceptor.accept(socket, address.ip(), SystemTime::now(), limit).await {
                        Ok(secured) => greet(secured).await,
                        Err(error) => error.to_string(),
                    };
                    let _ = told.send(outcome);
                });
            }
        });
        Self { address, certificates: resolver, challenges, outcomes }
    }

    async fn outcome(&mut self) -> String {
        timeout(LIMIT, self.outcomes.recv()).await.unwrap().unwrap()
    }
}

/// Says hello, and waits for the client's end.
async fn greet(mut secured: Secured<TcpStream>) -> String {
    secured.stream.write_all(b"hello").await.unwrap();
    secured.stream.flush().await.unwrap();
    let mut rest = Vec::new();
    let _ = secured.stream.read_to_end(&mut rest).await;
    let _ = secured.stream.shutdown().await;
    format!("{:?} {:?}", secured.protocol, secured.server_name.as_deref().unwrap_or("-"))
}

fn client(roots: RootCertStore, versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(config.clone()).connect(name, TcpStream::connect(address).await?).await?;
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await?;
    assert_eq!(&hello, b"hello");
    Ok(stream)
}
