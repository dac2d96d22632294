//! TLS as every client here speaks it: 1.3, AES-128-GCM, X25519, nothing resumed, so that each server does the same work.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::ca::Ca;

/// One client's settings, HTTP/1.1 alone.
#[derive(Clone)]
pub(crate) struct Dialler(TlsConnector);

/// A connection that is kept, HTTP/1.1.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Dialler {
    pub(crate) fn new(ca: &Ca) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.pem().as_bytes()) {
            roots.add(certificate.expect("PEM of our own")).expect("a certificate of our own");
        }
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> anyhow::Result<Line> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned())?;
        let stream = self.0.connect(name, socket).await?;
        Ok(Line { stream, read: Vec::new() })
    }
}

impl Line {
    /// One request, and its whole answer.
    pub(crate) async fn get(&mut self, name: &str, path: &str) -> anyhow::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let (head, length) = loop {
            let end = self.read.windows(4).position(|at| at == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                break (head, end + 4 + length.unwrap_or(0));
            }
            self.more().await?;
        };
        while self.read.len() < length {
            self.more().await?;
        }
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).context("not HTTP/1.1")?;
        let begins = head.len() + 4;
        let body = self.read[begins..length].to_vec();
        self.read.drain(..length);
        Ok(Answer { status, body })
    }

    /// Ends it from this side, and waits until the server has.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.stream.shutdown().await?;
        let mut rest = [0; 1024];
        // A server may end it with a reset: it is over then as well.
        while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        Ok(())
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.read).await?;
        anyhow::ensure!(read > 0, "the server ended the connection");
        Ok(())
    }
}
