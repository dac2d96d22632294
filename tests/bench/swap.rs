//! A component that is replaced under full load: what failed, and the longest that a steady client had to wait.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    contenders::{Contender, Place, SITE},
    load::Work,
    progress::Progress,
    support::{guests::component, upstream::dead},
    table::{Lane, OURS, Row, median, quantile},
};

const SWAPS: u32 = 10;
const APART: Duration = Duration::from_millis(400);
const STEP: Duration = Duration::from_millis(1);
/// More than the swaps themselves take.
const SWAPPING: Duration = Duration::from_secs(6);

/// Waits of a client that asks once a millisecond, in milliseconds.
#[derive(Default)]
struct Steady {
    waits: Vec<f64>,
    failed: u64,
}

pub(crate) async fn swap(place: &Place, load: &Work, rounds: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let contender = Contender::ours(OURS, place.setup(dead(), "").0).await;
    let files = [other(place, 0)?, other(place, 1)?];
    let mut lane = Lane::new(OURS);
    let (mut calm, mut took) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        progress.show(&format!("swap: {}/{rounds}", round + 1));
        let length = APART * SWAPS;
        let (steady, served) = under_load(place, &contender, load, length, async {
            tokio::time::sleep(length).await;
            Ok(())
        })
        .await?;
        calm.push(quantile(&steady.waits, 1.0));
        lane.failed += steady.failed + served;
        let (steady, served) = under_load(place, &contender, load, length + SWAPPING, async {
            for number in 0..SWAPS {
                tokio::time::sleep(APART).await;
                let begun = Instant::now();
                contender.host().swap("site", &files[number as usize % 2]).await.done();
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            Ok(())
        })
        .await?;
        lane.values.push(quantile(&steady.waits, 1.0));
        lane.failed += steady.failed + served;
    }
    let note = format!(
        "{} swaps, {} requests failed; a swap takes {:.0} ms; without one the longest pause is {:.1} ms",
        rounds * SWAPS as usize,
        lane.failed,
        median(&took),
        median(&calm)
    );
    let title = "longest pause of a steady client while the site is swapped under load".to_owned();
    Ok(vec![Row { scenario: "swap", title, unit: "ms", lanes: vec![lane], note }])
}

/// What the steady client saw while `meanwhile` went on, and how many requests of the load failed.
async fn under_load(
    place: &Place,
    contender: &Contender,
    load: &Work,
    length: Duration,
    meanwhile: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<(Steady, u64)> {
    let mut started = 0;
    let load = load.run(contender.address, &place.dialler, length, &mut started);
    let seen = async {
        let mut steady = Steady::default();
        tokio::select! {
            done = meanwhile => done?,
            over = steady.go_on(place, contender) => over?,
        }
        Ok(steady)
    };
    let (served, steady) = tokio::try_join!(load, seen)?;
    Ok((steady, served.failed))
}

impl Steady {
    async fn go_on(&mut self, place: &Place, contender: &Contender) -> anyhow::Result<()> {
        let mut line = place.dialler.connect(contender.address, SITE).await?;
        loop {
            let asked = Instant::now();
            let answer = line.get(SITE, "/1k.html").await;
            self.waits.push(asked.elapsed().as_secs_f64() * 1e3);
            if !answer.is_ok_and(|answer| answer.status == 200) {
                self.failed += 1;
                line = place.dialler.connect(contender.address, SITE).await?;
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

/// Our site with a section of its own at the end: another component to the host, which does the same.
fn other(place: &Place, number: u8) -> anyhow::Result<PathBuf> {
    let mut bytes = fs::read(component("site"))?;
    // A custom section: its id, its length, the length of its name, the name.
    bytes.extend_from_slice(&[0, 3, 1, b'n', number]);
    let file = place.path(&format!("site-{number}.wasm"));
    fs::write(&file, bytes)?;
    Ok(file)
}
