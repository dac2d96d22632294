//! From the start of a process to its first whole answer over TLS, with what can be kept from an earlier run kept.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    contenders::{Peer, Place, h2o, nginx},
    progress::Progress,
    support::{host::Setup, upstream::dead},
    table::{H2O, Lane, NGINX, OURS, Row},
};

const LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_micros(500);

pub(crate) async fn start(place: &Place, rounds: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let nobody = dead();
    let mut lanes = [OURS, NGINX, H2O].map(Lane::new);
    let address = dead();
    let mut setup = place.setup(nobody, &format!("[listen]\nhttps = \"{address}\"\n")).0;
    // Compiles, and keeps it.
    setup = setup.start().await.terminate().await;
    let (at_nginx, at_h2o) = (dead(), dead());
    let (for_nginx, for_h2o) = (place.nginx_settings(at_nginx, nobody)?, place.h2o_settings(at_h2o, nobody)?);
    for round in 0..rounds {
        progress.show(&format!("start: {}/{rounds}", round + 1));
        setup = ours(place, setup, address, &mut lanes[0]).await?;
        peer(place, nginx(&for_nginx), at_nginx, &mut lanes[1]).await?;
        peer(place, h2o(&for_h2o), at_h2o, &mut lanes[2]).await?;
    }
    let title = "start to the first HTTPS answer, compiled code kept".to_owned();
    Ok(vec![Row { scenario: "start", title, unit: "ms", lanes: lanes.into(), note: String::new() }])
}

async fn ours(place: &Place, setup: Setup, address: SocketAddr, lane: &mut Lane) -> anyhow::Result<Setup> {
    let begun = Instant::now();
    let mut child = setup.spawn();
    lane.values.push(answered(place, address, begun).await?);
    child.kill().await?;
    Ok(setup)
}

async fn peer(
    place: &Place,
    command: std::process::Command,
    address: SocketAddr,
    lane: &mut Lane,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let _peer = Peer::spawn(command)?;
    lane.values.push(answered(place, address, begun).await?);
    Ok(())
}

/// Milliseconds until there was an answer.
async fn answered(place: &Place, address: SocketAddr, begun: Instant) -> anyhow::Result<f64> {
    while place.answers(address).await.is_err() {
        ensure!(begun.elapsed() < LIMIT, "no answer within {LIMIT:?}");
        tokio::time::sleep(STEP).await;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
