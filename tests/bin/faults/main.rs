//! The fault harness: real members of groups on a real Kafka, a nemesis from a seed, rows of the fault matrix by
//! themselves, and a checker that judges.
//!
//! `cargo run --release --bin faults -- [--seed N] [--minutes M] [--only ROW]`; with `convict` it breaks the library in
//! every way it knows and has to find each of them. The last line is one JSON object; the exit
//! code is 1 when anything was found. Everything that the verdict rests on is kept in `target/faults/SEED/`.

mod convict;
mod dice;
mod group;
mod judge;
mod load;
mod nemesis;
mod report;
mod row;
mod run;
mod scenes;
#[path = "../member/service/mod.rs"]
mod service;
mod setting;
mod site;
#[cfg(test)]
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::row::Row;
use self::service::{Acks, Engine, MemberArguments, Sabotage};

/// Disturbs the members of a group at random, or by one row of the matrix after the other, and judges what became of
/// their records.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// What the harness starts its members as.
    #[command(hide = true)]
    Member(Box<MemberArguments>),
    /// Runs rows by themselves: all, or those that are named.
    Rows {
        /// What their dice are thrown from; a random one is printed.
        #[arg(long)]
        seed: Option<u64>,
        /// Only this row, by its number or name; may be repeated.
        #[arg(long, value_name = "ROW")]
        only: Vec<Row>,
        /// How often, each time from the next seed.
        #[arg(long, default_value_t = 1)]
        times: u64,
        /// How many at a time.
        #[arg(long, default_value_t = 3)]
        at_once: usize,
        /// Where the results are appended to; the guarantees quote `docs/faults/runs.jsonl`.
        #[arg(long)]
        record: Option<PathBuf>,
    },
    /// Lists the rows: number, name, what happens, what is promised.
    List,
    /// What is run for every change: the nemesis for 90 s, and a dozen rows.
    Gate {
        /// What the dice are thrown from; another one every hour, and printed.
        #[arg(long)]
        seed: Option<u64>,
        /// Where the results are appended to; the guarantees quote `docs/faults/runs.jsonl`.
        #[arg(long)]
        record: Option<PathBuf>,
    },
    /// Breaks the library in every way that there is, one after the other, and has to see each of them.
    Convict {
        /// What the nemesis throws its dice from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this way; may be repeated.
        #[arg(long, value_enum)]
        only: Vec<Sabotage>,
    },
    /// Judges a run that was kept once more.
    Judge {
        /// Its folder, such as `target/faults/SEED/nemesis`.
        directory: PathBuf,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Options {
    /// What the nemesis throws its dice from; a random one is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults are made.
    #[arg(long, default_value_t = 1.5)]
    minutes: f64,
    /// Only this row of the fault matrix, by its number or name; may be repeated. Rows that the nemesis cannot make are
    /// run by themselves.
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Kafka nodes: 1 or 3.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Records produced per second.
    #[arg(long, default_value_t = 600)]
    rate: u32,
    /// What runs the handlers; all but `listener` are there to see whether the harness can tell.
    #[arg(long, value_enum, default_value_t = Engine::Listener)]
    engine: Engine,
    /// What says that a record is done; all but `return` need `--set listener.ack_mode=manual` or `manual_immediate`.
    #[arg(long, value_enum, default_value_t = Acks::Return)]
    acks: Acks,
    /// What is broken in the library on purpose.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Milliseconds that each handler works.
    #[arg(long, default_value_t = 1)]
    work_ms: u64,
    /// Handlers block their thread for that long instead of awaiting it.
    #[arg(long)]
    block: bool,
    /// Threads of each member's runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A setting of the members, such as `listener.group_protocol=consumer`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,
    /// Where the results are appended to; the guarantees quote `docs/faults/runs.jsonl`.
    #[arg(long)]
    record: Option<PathBuf>,
}

impl Options {
    /// The nemesis with everything as it is by default.
    fn of_gate() -> Self {
        Self {
            seed: None,
            minutes: 1.5,
            only: Vec::new(),
            nodes: 1,
            partitions: 6,
            rate: 600,
            engine: Engine::Listener,
            acks: Acks::Return,
            sabotage: None,
            work_ms: 1,
            block: false,
            threads: 2,
            settings: Vec::new(),
            record: None,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Member(member)) => service::run(&member),
        Some(Part::Rows { seed, only, times, at_once, record }) => {
            let rows = if only.is_empty() { Row::ALL.to_vec() } else { only };
            exit_code(in_runtime(report::rows(&rows, seed, times, at_once, record.as_deref())))
        }
        Some(Part::List) => {
            for about in Row::ALL.map(Row::about) {
                say(&format!("{:<3} {:<22} {}: {}", about.number, about.name, about.fault, about.promise));
            }
            ExitCode::SUCCESS
        }
        Some(Part::Gate { seed, record }) => exit_code(in_runtime(report::gate(seed, record.as_deref()))),
        Some(Part::Convict { seed, only }) => exit_code(in_runtime(convict::convict(seed, &only))),
        Some(Part::Judge { directory }) => exit_code(judge::judge_again(&directory)),
        None => exit_code(in_runtime(report::random(&arguments.options))),
    }
}

fn in_runtime(run: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<bool> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run)
}

fn exit_code(clean: anyhow::Result<bool>) -> ExitCode {
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            say(&format!("the harness failed: {err:#}"));
            ExitCode::from(2)
        }
    }
}

/// A line for whoever watches.
fn say(line: &str) {
    // Nobody watches any more; the verdict is in the files.
    writeln!(std::io::stdout(), "{line}").ok();
}
