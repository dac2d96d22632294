//! What is measured, in the order of the table. Each is a name, a title, and who is driven how.

use std::{fs, path::PathBuf};

use anyhow::ensure;

use crate::{
    contenders::{Contender, PROXIED, Place, SITE},
    git::{self, GITS, Origins},
    idle::idle,
    load::{H2load, Work},
    names::names,
    progress::Progress,
    push::push,
    pusher::Pushes,
    rounds::{Plan, Run, rounds},
    start::start,
    support::client::{BOTH, Client, Protocol, ask},
    swap::swap,
    table::{OURS, Row},
};

/// What is driven by load, and compared by CPU time a request.
struct Load {
    name: &'static str,
    title: &'static str,
    work: fn(&Place) -> Work,
    pushes: bool,
    /// Nothing is remembered: it is measured beside a host that remembers.
    woken: bool,
}

/// What the contenders share while they run.
pub(crate) struct Bench {
    plan: Plan,
    pub(crate) progress: Progress,
    place: Place,
    /// While load is compared; not beside what counts memory, for two of one program share it.
    house: Option<House>,
    origins: Option<Origins>,
}

/// All of them at once: those that are asked nothing cost nothing.
struct House {
    upstream: Contender,
    ours: Contender,
    woken: Contender,
    nginx: Contender,
    h2o: Contender,
    repository: PathBuf,
}

const LOADS: &[Load] = &[
    load("1k-h1", "1 KiB, HTTPS/1.1", |_| urls(Protocol::Http1, SITE, "/1k.html")),
    load("1k-h2", "1 KiB, HTTPS/2", |_| urls(Protocol::Http2, SITE, "/1k.html")),
    load("100k-h1", "100 KiB, HTTPS/1.1", |_| urls(Protocol::Http1, SITE, "/100k.html")),
    load("100k-h2", "100 KiB, HTTPS/2", |_| urls(Protocol::Http2, SITE, "/100k.html")),
    load("1k-rate", "1 KiB, HTTPS/1.1, 4,000 a second", |_| {
        Work::Urls(H2load { rate: Some(4000), ..h2load(Protocol::Http1, SITE, "/1k.html") })
    }),
    Load {
        woken: true,
        ..load("woken-h1", "1 KiB, HTTPS/1.1, nothing remembered", |_| urls(Protocol::Http1, SITE, "/1k.html"))
    },
    Load {
        woken: true,
        ..load("woken-h2", "1 KiB, HTTPS/2, nothing remembered", |_| urls(Protocol::Http2, SITE, "/1k.html"))
    },
    load("404", "404, HTTPS/1.1", |_| Work::Urls(H2load { class: 4, ..h2load(Protocol::Http1, SITE, "/nothing") })),
    load("query", "1 KiB, HTTPS/1.1, a random query", |place| {
        Work::Urls(H2load { list: Some(queries(place)), ..h2load(Protocol::Http1, SITE, "/1k.html") })
    }),
    Load {
        pushes: true,
        ..load("pushed", "1 KiB, HTTPS/1.1, a push each 50 ms", |_| urls(Protocol::Http1, SITE, "/1k.html"))
    },
    load("proxied-h1", "1 KiB proxied, HTTPS/1.1", |_| urls(Protocol::Http1, PROXIED, "/1k.html")),
    load("proxied-h2", "1 KiB proxied, HTTPS/2", |_| urls(Protocol::Http2, PROXIED, "/1k.html")),
    load("10m", "10 MiB, HTTPS/1.1, 8 connections", |_| {
        Work::Urls(H2load { connections: 8, ..h2load(Protocol::Http1, SITE, "/10m.bin") })
    }),
    load("handshakes", "new TLS 1.3 connections", |_| Work::Handshakes { name: SITE }),
    load("decision", "a decision asked anew (308)", |_| Work::Fresh { name: SITE, prefix: "/old/", status: 308 }),
];

/// What is not a request's cost.
const OTHERS: [&str; 6] = ["names", "idle", "start", "swap", "push", "push-hook"];

const PUSHES: usize = 200;
/// Where a round is long, or tells all there is.
const FEW: usize = 3;

pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    LOADS.iter().map(|load| load.name).chain(OTHERS).chain(GITS)
}

const REMEMBERED: &str = "atoll, remembered";

impl Bench {
    pub(crate) fn new(plan: Plan, progress: Progress) -> Self {
        Self { plan, progress, place: Place::new(), house: None, origins: None }
    }

    pub(crate) async fn run(&mut self, name: &str) -> anyhow::Result<Vec<Row>> {
        if let Some(load) = LOADS.iter().find(|load| load.name == name) {
            if self.house.is_none() {
                self.progress.show("starting");
                self.house = Some(House::new(&self.place).await?);
            }
            let house = self.house.as_ref().expect("set above");
            return Ok(vec![house.load(load, self.plan, &self.place, &self.progress).await?]);
        }
        self.house = None;
        let (place, progress, rounds) = (&self.place, &self.progress, self.plan.rounds);
        match name {
            "names" => names(place, self.plan, progress).await,
            "idle" => idle(place, rounds.min(FEW), progress).await,
            "start" => start(place, 3 * rounds, progress).await,
            "swap" => swap(place, &urls(Protocol::Http1, SITE, "/1k.html"), rounds.min(FEW), progress).await,
            "push" | "push-hook" => push(place, name == "push-hook", PUSHES, progress).await,
            "git-memory" => git::memory(rounds.min(FEW), progress).await,
            "git-lookup" => git::lookup(rounds, progress),
            _ => {
                let scenario = GITS.into_iter().find(|each| *each == name).expect("one of the list");
                if self.origins.is_none() {
                    self.progress.show("git: making repositories");
                    self.origins = Some(Origins::new().await?);
                }
                git::contest(self.origins.as_ref().expect("set above"), scenario, rounds, &self.progress).await
            }
        }
    }
}

impl House {
    async fn new(place: &Place) -> anyhow::Result<Self> {
        let upstream = place.upstream().await?;
        let (setup, site) = place.setup(upstream.address, "");
        let repository = site.path().to_owned();
        let ours = Contender::ours(OURS, setup).await;
        let woken = Contender::ours(OURS, place.setup(upstream.address, "[memory]\nanswers = \"0KiB\"\n").0).await;
        let nginx = place.nginx(upstream.address).await?;
        let h2o = place.h2o(upstream.address).await?;
        let house = Self { upstream, ours, woken, nginx, h2o, repository };
        house.same_bytes(place).await?;
        Ok(house)
    }

    async fn load(&self, load: &Load, plan: Plan, place: &Place, progress: &Progress) -> anyhow::Result<Row> {
        let ours = if load.woken { &self.woken } else { &self.ours };
        let mut runs: Vec<_> = [ours, &self.nginx, &self.h2o]
            .into_iter()
            .map(|contender| Run::new(contender, (load.work)(place)))
            .collect();
        if load.woken {
            let mut remembered = Run::new(&self.ours, (load.work)(place));
            remembered.name = REMEMBERED;
            runs.push(remembered);
        }
        if load.pushes {
            for run in &mut runs {
                let ours = run.name == OURS;
                let folder = place.www();
                run.pushes = Some(if ours { Pushes::Branch(self.repository.clone()) } else { Pushes::Folder(folder) });
            }
        }
        let lanes = rounds(plan, load.title, runs, &place.dialler, Some(&self.upstream), progress).await?;
        let remembered = lanes.iter().find(|lane| lane.name == REMEMBERED);
        let note = remembered.map_or_else(String::new, |base| format!("{:.1} × remembered", lanes[0].against(base)));
        Ok(Row { scenario: load.name, title: load.title.to_owned(), unit: "µs", lanes, note })
    }

    /// Every file from every contender over both protocols is what was put there.
    async fn same_bytes(&self, place: &Place) -> anyhow::Result<()> {
        for contender in [&self.ours, &self.woken, &self.nginx, &self.h2o] {
            let client = Client::new(contender.address, place.ca.pem());
            for protocol in BOTH {
                for (path, bytes) in &place.files {
                    let (path, status) = if *path == "404.html" { ("nothing", 404) } else { (*path, 200) };
                    for name in [SITE, PROXIED] {
                        if name == PROXIED && status == 404 {
                            continue;
                        }
                        let url = format!("https://{name}/{path}");
                        let reply = client.send_over(protocol, ask("GET", &url)).await;
                        let who = contender.name;
                        ensure!(reply.status == status, "{who}: {url} over {protocol:?}: {}", reply.status);
                        ensure!(reply.body == bytes, "{who}: {url} over {protocol:?}: other bytes");
                        ensure!(reply.field("content-encoding").is_none(), "{who}: {url} is encoded");
                    }
                }
            }
        }
        Ok(())
    }
}

const fn load(name: &'static str, title: &'static str, work: fn(&Place) -> Work) -> Load {
    Load { name, title, work, pushes: false, woken: false }
}

fn urls(protocol: Protocol, name: &str, path: &str) -> Work {
    Work::Urls(h2load(protocol, name, path))
}

fn h2load(protocol: Protocol, name: &str, path: &str) -> H2load {
    let connections = if protocol == Protocol::Http1 { 64 } else { 16 };
    H2load { protocol, connections, url: format!("https://{name}{path}"), list: None, rate: None, class: 2 }
}

/// A file of URLs that differ in a query that means nothing.
fn queries(place: &Place) -> PathBuf {
    let file = place.path("queries");
    let lines = (0..20_000_u64)
        .map(|number| format!("https://{SITE}/1k.html?q={:016x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    fs::write(&file, lines.collect::<String>()).expect("the folder is ours");
    file
}
