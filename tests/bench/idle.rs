//! Memory: of a server that has just started, and of one that holds idle connections.

use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    contenders::{Contender, Place, SITE},
    dial::Line,
    progress::Progress,
    support::{tables, upstream::dead},
    table::{H2O, Lane, NGINX, OURS, Row},
    usage::memory,
};

const CONNECTIONS: usize = 2000;
const AT_ONCE: usize = 16;

/// For what was needed once to be given back.
const REST: Duration = Duration::from_secs(6);

const MIB: f64 = 1024.0 * 1024.0;

/// Two lines: MiB at the start, and KiB more for each connection.
pub(crate) async fn idle(place: &Place, rounds: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let names = [OURS, NGINX, H2O];
    let mut lanes = [names.map(Lane::new), names.map(Lane::new)];
    for round in 0..rounds {
        for (at, name) in names.into_iter().enumerate() {
            progress.show(&format!("idle connections: {name} {}/{rounds}", round + 1));
            let (started, more) = measure(place, name).await?;
            lanes[0][at].values.push(started / MIB);
            #[expect(clippy::cast_precision_loss, reason = "two thousand")]
            lanes[1][at].values.push(more / CONNECTIONS as f64 / 1024.0);
        }
    }
    let [started, more] = lanes.map(Vec::from);
    let row =
        |title: &str, unit, lanes| Row { scenario: "idle", title: title.to_owned(), unit, lanes, note: String::new() };
    Ok(vec![
        row("memory after the start (PSS; three components)", "MiB", started),
        row("memory for each of 2,000 idle connections after an answer (PSS)", "KiB", more),
    ])
}

async fn measure(place: &Place, name: &str) -> anyhow::Result<(f64, f64)> {
    let nobody = dead();
    let contender = match name {
        OURS => {
            let (setup, _) = place.setup(nobody, &tables::site("other"));
            setup.repository("other").commit("main", &[("index.html", "other\n")]);
            Contender::ours(OURS, setup).await
        }
        NGINX => place.nginx(nobody).await?,
        _ => place.h2o(nobody).await?,
    };
    tokio::time::sleep(REST).await;
    let before = memory(contender.process);
    let mut lines: Vec<Line> = stream::iter(0..CONNECTIONS)
        .map(async |_| {
            let mut line = place.dialler.connect(contender.address, SITE).await?;
            ask(&mut line).await?;
            anyhow::Ok(line)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    tokio::time::sleep(REST).await;
    let after = memory(contender.process);
    for line in &mut lines {
        ask(line).await?;
    }
    Ok((before, after - before))
}

async fn ask(line: &mut Line) -> anyhow::Result<()> {
    let status = line.get(SITE, "/1k.html").await?.status;
    ensure!(status == 200, "status {status}");
    Ok(())
}
