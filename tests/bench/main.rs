//! Throughput, latency and instructions per record, side by side with a hand-written loop, on a real Kafka.
//!
//! `cargo run --release --bin bench -- CASE`. Every subject runs in a process of its own, so that its CPU time and its
//! memory are its alone; rounds are interleaved, so that the machine's mood falls on all of them alike.

mod cases;
mod child;
mod measure;
mod member;
mod order;
mod protocol;
mod report;
mod rivals;
mod statistics;
mod subject;
mod topics;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cases::Case;
use crate::protocol::{Assignment, Subject};
use crate::report::Report;

#[global_allocator]
static ALLOCATOR: measure::CountingAllocator = measure::CountingAllocator;

/// What to measure, and how often.
#[derive(Debug, Parser)]
#[command(about = "Measures kafka-listener beside hand-written consumers on a real Kafka")]
struct Arguments {
    case: Case,
    /// Appends one JSON object per run and one per summary to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Records per run; each case has its own default.
    #[arg(long)]
    records: Option<usize>,
    /// Only these subjects; the measure of the others always runs. Rivals run only where they are named.
    #[arg(long = "subject", value_enum)]
    subjects: Vec<Subject>,
    /// Only settings whose name, as the table has it, contains this.
    #[arg(long)]
    setting: Option<String>,
    /// Only these topics, as `SIZExPARTITIONS`.
    #[arg(long = "topic", value_enum)]
    topics: Vec<topics::Shape>,
}

fn main() -> anyhow::Result<()> {
    // A subject is this same binary, started by `child` with its assignment.
    if let Some(assignment) = Assignment::from_arguments()? {
        return subject::run(&assignment);
    }
    let arguments = Arguments::parse();
    let plan = cases::Plan {
        rounds: arguments.rounds.max(1),
        records: arguments.records,
        subjects: rivals::present(&arguments.subjects)?,
        shapes: or_all(arguments.topics),
        setting: arguments.setting,
    };
    let mut report = Report::new(arguments.case, arguments.json.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.case {
            Case::Throughput => cases::throughput::run(&plan, &mut report).await,
            Case::Latency => cases::latency::run(&plan, &mut report).await,
            Case::Instructions => cases::instructions::run(&plan, &mut report).await,
            Case::WorkTime => cases::work_time::run(&plan, &mut report).await,
            Case::FanOut => cases::fan_out::run(&plan, &mut report).await,
            Case::Memory => cases::memory::run(&plan, &mut report).await,
            Case::Lifecycle => cases::lifecycle::run(&plan, &mut report).await,
            Case::Rebalance => cases::rebalance::run(&plan, &mut report).await,
        }
    })
}

fn or_all<T: ValueEnum>(chosen: Vec<T>) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().iter().map(Clone::clone).collect() } else { chosen }
}
