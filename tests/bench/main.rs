//! What this host costs beside nginx, h2o and git, on the machine that it is run on: `scripts/bench`. A program of its own, not a
//! test: it needs a quiet machine, and what it finds is a table to read. It ends all that it starts.

#![allow(clippy::unwrap_used, reason = "a program that measures ends where it can't")]

use std::{process::ExitCode, time::Duration};

use clap::Parser;

mod contenders;
mod dial;
mod git;
mod idle;
mod load;
mod machine;
mod names;
mod progress;
mod push;
mod pusher;
mod rounds;
mod scenarios;
mod start;
#[allow(dead_code, unused_imports, reason = "shared with the tests, which use all of it")]
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod table;
mod usage;

/// Measure this host beside nginx, h2o and git
#[derive(Parser)]
#[command(name = "bench", bin_name = "scripts/bench")]
struct Arguments {
    /// What to measure; everything, unless named
    #[arg(value_name = "SCENARIO", value_parser = clap::builder::PossibleValuesParser::new(scenarios::all()))]
    scenarios: Vec<String>,

    /// Seconds of load in each round
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Rounds of each contender
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,

    /// Print the figures for programs
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tokio::select! {
        outcome = run(&arguments) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("scripts/bench: {error:#}");
                ExitCode::FAILURE
            }
        },
        // What runs ends with the future that holds it.
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = rounds::Plan {
        rounds: usize::try_from(arguments.rounds).expect("a small number"),
        length: Duration::from_secs(arguments.seconds),
    };
    let machine = machine::named()?;
    machine::open_files();
    if !arguments.json {
        println!("{}", machine::words(&machine));
    }
    let mut rows: Vec<table::Row> = Vec::new();
    let progress = progress::Progress::new();
    let mut bench = scenarios::Bench::new(plan, progress);
    for scenario in scenarios::all().filter(|each| arguments.wants(each)) {
        for row in bench.run(scenario).await? {
            bench.progress.show("");
            if !arguments.json {
                if rows.last().is_none_or(|last| last.is_git() != row.is_git()) {
                    println!("\n{}", if row.is_git() { table::GIT_HEADER } else { table::HEADER });
                }
                println!("{}", table::line(&row));
            }
            rows.push(row);
        }
    }
    if arguments.json {
        println!("{:#}", table::json(&rows, &machine));
    }
    Ok(())
}

impl Arguments {
    fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == scenario)
    }
}
