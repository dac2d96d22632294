//! Load, and what was answered: by h2load, which is nobody's here, and by connections of our own where it can't.

use std::{net::SocketAddr, path::PathBuf, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use tokio::{process::Command, task::JoinSet, time::Instant};

use crate::{dial::Dialler, support::client::Protocol};

/// What a client asks for.
#[derive(Clone)]
pub(crate) enum Work {
    /// One URL, or those of a file, over and over.
    Urls(H2load),
    /// New connections that ask for nothing, sixteen at a time.
    Handshakes { name: &'static str },
    /// 64 connections that each ask what nobody asked before: a path by its number.
    Fresh { name: &'static str, prefix: &'static str, status: u16 },
    /// 64 connections, each on a name of its own after the other.
    Names { names: Rc<[String]>, path: &'static str },
}

#[derive(Clone)]
pub(crate) struct H2load {
    pub(crate) protocol: Protocol,
    pub(crate) connections: u32,
    pub(crate) url: String,
    /// In place of the path of `url`.
    pub(crate) list: Option<PathBuf>,
    /// Requests a second, all connections; as many as can be where there is none.
    pub(crate) rate: Option<u32>,
    /// The class of every status that must come.
    pub(crate) class: usize,
}

/// How much there was of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

const AT_ONCE: usize = 16;
const CONNECTIONS: usize = 64;
const STREAMS: u32 = 32;

impl Work {
    /// `started` numbers the fresh requests: none is asked twice.
    pub(crate) async fn run(
        &self,
        address: SocketAddr,
        dialler: &Dialler,
        length: Duration,
        started: &mut u64,
    ) -> anyhow::Result<Served> {
        match self {
            Self::Urls(h2load) => h2load.run(address, length).await,
            Self::Handshakes { name } => handshakes(address, dialler, name, length).await,
            Self::Fresh { name, prefix, status } => {
                let asked = *started;
                let served = each(address, dialler, length, |number| {
                    ((*name).to_owned(), format!("{prefix}{}", asked + number), *status)
                });
                let served = served.await?;
                *started += served.requests + CONNECTIONS as u64;
                Ok(served)
            }
            Self::Names { names, path } => {
                let count = names.len() as u64;
                let name = |number| usize::try_from(number % count).expect("an index");
                each(address, dialler, length, |number| (names[name(number)].clone(), (*path).to_owned(), 200)).await
            }
        }
    }
}

impl H2load {
    async fn run(&self, address: SocketAddr, length: Duration) -> anyhow::Result<Served> {
        let mut h2load = Command::new("h2load");
        h2load.args(["--threads=1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]);
        h2load.arg(format!("--clients={}", self.connections));
        h2load.arg(format!("--duration={}", length.as_secs_f64().round().max(1.0)));
        h2load.arg(format!("--connect-to={address}"));
        let protocol = match self.protocol {
            Protocol::Http1 => {
                h2load.arg("--h1");
                "http/1.1"
            }
            Protocol::Http2 => {
                h2load.arg(format!("--max-concurrent-streams={STREAMS}"));
                "h2"
            }
        };
        if let Some(rate) = self.rate {
            h2load.arg(format!("--rps={}", f64::from(rate) / f64::from(self.connections)));
        }
        match &self.list {
            Some(list) => h2load.arg("--input-file").arg(list),
            None => h2load.arg(&self.url),
        };
        let output = h2load.kill_on_drop(true).output().await.context("h2load is not installed")?;
        let said = String::from_utf8_lossy(&output.stdout);
        for line in [
            "TLS Protocol: TLSv1.3",
            "Cipher: TLS_AES_128_GCM_SHA256",
            "Server Temp Key: X25519 253 bits",
            &format!("Application protocol: {protocol}"),
        ] {
            ensure!(said.lines().any(|each| each == line), "h2load did not say {line:?}: {said}");
        }
        let numbers = |name: &str| -> anyhow::Result<Vec<u64>> {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("no {name} in {said}"))?;
            line.split(',').map(|each| Ok(each.trim().split(' ').next().unwrap_or_default().parse()?)).collect()
        };
        // total, started, done, succeeded, failed, errored, timeout
        let requests = numbers("requests:")?;
        let good = numbers("status codes:")?[self.class - 2];
        let done = requests[2];
        ensure!(done > 0, "nothing was answered: {said}");
        Ok(Served { requests: done, failed: done.saturating_sub(good) + requests[5] })
    }
}

async fn handshakes(
    address: SocketAddr,
    dialler: &Dialler,
    name: &'static str,
    length: Duration,
) -> anyhow::Result<Served> {
    let end = Instant::now() + length;
    let mut all = JoinSet::new();
    for _ in 0..AT_ONCE {
        let dialler = dialler.clone();
        all.spawn(async move {
            let mut served = Served::default();
            while Instant::now() < end {
                dialler.connect(address, name).await?.close().await?;
                served.requests += 1;
            }
            anyhow::Ok(served)
        });
    }
    sum(all).await
}

/// 64 connections; what each asks goes by a number that is nobody else's.
async fn each(
    address: SocketAddr,
    dialler: &Dialler,
    length: Duration,
    ask: impl Fn(u64) -> (String, String, u16),
) -> anyhow::Result<Served> {
    let (first, ..) = ask(0);
    let end = Instant::now() + length;
    let next = std::cell::Cell::new(0);
    let lines = (0..CONNECTIONS).map(|_| async {
        let mut line = dialler.connect(address, &first).await?;
        let mut served = Served::default();
        while Instant::now() < end {
            let (name, path, status) = ask(next.replace(next.get() + 1));
            let answer = line.get(&name, &path).await?;
            served.requests += 1;
            served.failed += u64::from(answer.status != status);
        }
        anyhow::Ok(served)
    });
    let all: Vec<Served> = futures_util::future::try_join_all(lines).await?;
    Ok(all.into_iter().fold(Served::default(), Served::and))
}

async fn sum(mut all: JoinSet<anyhow::Result<Served>>) -> anyhow::Result<Served> {
    let mut total = Served::default();
    while let Some(served) = all.join_next().await {
        total = total.and(served??);
    }
    Ok(total)
}

impl Served {
    fn and(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, failed: self.failed + other.failed }
    }
}
