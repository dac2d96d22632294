//! Interleaved rounds: in each, every lane is driven once, the order turned by one, so that what disturbs the machine for a
//! while disturbs all of them.

use std::time::{Duration, Instant};

use crate::{
    contenders::Contender,
    dial::Dialler,
    load::Work,
    progress::Progress,
    pusher::{Pusher, Pushes},
    table::Lane,
    usage::{Machine, Usage},
};

/// Rounds, and the length of each.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
}

/// One contender under one kind of load.
pub(crate) struct Run<'a> {
    pub(crate) name: &'static str,
    pub(crate) contender: &'a Contender,
    pub(crate) work: Work,
    /// What goes on meanwhile.
    pub(crate) pushes: Option<Pushes>,
    /// Numbers of requests that were used up.
    started: u64,
}

/// Before each measurement: caches, and the first use of everything.
const WARM_UP: Duration = Duration::from_secs(1);

/// For a server to put away what it was sent last.
const SETTLE: Duration = Duration::from_millis(100);

impl<'a> Run<'a> {
    pub(crate) fn new(contender: &'a Contender, work: Work) -> Self {
        Self { name: contender.name, contender, work, pushes: None, started: 0 }
    }
}

/// Microseconds of server CPU a request, a value a round.
pub(crate) async fn rounds(
    plan: Plan,
    title: &str,
    mut runs: Vec<Run<'_>>,
    dialler: &Dialler,
    upstream: Option<&Contender>,
    progress: &Progress,
) -> anyhow::Result<Vec<Lane>> {
    let mut lanes: Vec<_> = runs.iter().map(|run| Lane::new(run.name)).collect();
    for round in 0..plan.rounds {
        for turn in 0..runs.len() {
            let at = (turn + round) % runs.len();
            progress.show(&format!("{title}: {} {}/{}", runs[at].name, round + 1, plan.rounds));
            measure(plan, &mut runs[at], dialler, upstream, &mut lanes[at]).await?;
        }
    }
    Ok(lanes)
}

async fn measure(
    plan: Plan,
    run: &mut Run<'_>,
    dialler: &Dialler,
    upstream: Option<&Contender>,
    lane: &mut Lane,
) -> anyhow::Result<()> {
    let address = run.contender.address;
    run.work.run(address, dialler, WARM_UP, &mut run.started).await?;
    tokio::time::sleep(SETTLE).await;
    let pusher = run.pushes.clone().map(Pusher::start);
    let (server, behind) = (run.contender.process, upstream.map(|upstream| upstream.process));
    let before = (Usage::of(server), behind.map(Usage::of), Machine::now(), Instant::now());
    let served = run.work.run(address, dialler, plan.length, &mut run.started).await?;
    let seconds = before.3.elapsed().as_secs_f64();
    drop(pusher);
    tokio::time::sleep(SETTLE).await;
    let used = Usage::of(server).since(&before.0);
    let behind = behind.zip(before.1).map_or(0.0, |(process, before)| Usage::of(process).since(&before));
    #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
    let requests = served.requests as f64;
    lane.values.push(used / requests * 1e6);
    lane.rates.push(requests / seconds);
    lane.others.push(Machine::now().others_since(&before.2, used + behind));
    lane.failed += served.failed;
    Ok(())
}
