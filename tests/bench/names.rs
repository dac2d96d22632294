//! Many names: what a request costs where there are ten route files, and where there are ten thousand.

use std::rc::Rc;
use std::time::Duration;

use crate::{
    contenders::{Contender, Place},
    load::Work,
    progress::Progress,
    rounds::{Plan, Run, rounds},
    support::upstream::dead,
    table::{OURS, Row},
};

const FEW: usize = 10;
const MANY: usize = 10_000;

/// Long enough for each name to be asked for once.
const FIRST: Duration = Duration::from_secs(3);

pub(crate) async fn names(place: &Place, plan: Plan, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    progress.show("names: starting");
    let few = house(place, FEW).await;
    let many = house(place, MANY).await;
    let run = |contender, asked, name| {
        let names: Rc<[String]> = (0..asked).map(name_of).collect();
        let mut run = Run::new(contender, Work::Names { names, path: "/1k.html" });
        run.name = name;
        run
    };
    let runs = vec![
        run(&few, FEW, "10 names"),
        run(&many, FEW, "10,000 names, ten of them asked"),
        run(&many, MANY, "10,000 names, each asked"),
    ];
    for run in &runs {
        run.work.run(run.contender.address, &place.dialler, FIRST, &mut 0).await?;
    }
    let lanes = rounds(plan, "names", runs, &place.dialler, None, progress).await?;
    let base = lanes[0].clone();
    Ok(lanes
        .into_iter()
        .map(|mut lane| {
            let title = format!("1 KiB, HTTPS/1.1, {}", lane.name);
            let note = if lane.name == base.name { String::new() } else { format!("{:.2} × 10", lane.against(&base)) };
            lane.name = OURS;
            Row { scenario: "names", title, unit: "µs", lanes: vec![lane], note }
        })
        .collect())
}

async fn house(place: &Place, count: usize) -> Contender {
    let (setup, _) = place.setup(dead(), "");
    let files: Vec<_> = (0..count).map(|number| format!("{}.toml", name_of(number))).collect();
    let files: Vec<_> = files.iter().map(|name| (&**name, "upstream = \"site\"\n")).collect();
    crate::support::git::Repository::open(setup.path("routes.git")).commit("main", &files);
    Contender::ours(OURS, setup).await
}

fn name_of(number: usize) -> String {
    format!("n{number}.bench.test")
}
