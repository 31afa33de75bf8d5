//! Throughput, latency and instructions per record, side by side with a hand-written loop, on a real Kafka.
//!
//! `cargo run --release --bin bench -- CASE`. Every subject runs in a process of its own, so that its CPU time and its
//! memory are its alone; rounds are interleaved, so that the machine's mood falls on all of them alike.

mod cases;
mod child;
mod measure;
mod order;
mod report;
mod statistics;
mod subject;
mod topics;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cases::{Case, instructions, latency, throughput};
use crate::report::Report;
use crate::subject::{Assignment, Subject};

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
    /// Only these subjects; the hand-written loop always runs, as the measure of the others.
    #[arg(long = "subject", value_enum)]
    subjects: Vec<Subject>,
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
        subjects: or_all(arguments.subjects),
        shapes: or_all(arguments.topics),
    };
    let mut report = Report::new(arguments.case, arguments.json.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.case {
            Case::Throughput => throughput::run(&plan, &mut report).await,
            Case::Latency => latency::run(&plan, &mut report).await,
            Case::Instructions => instructions::run(&plan, &mut report).await,
        }
    })
}

fn or_all<T: ValueEnum>(chosen: Vec<T>) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().iter().map(Clone::clone).collect() } else { chosen }
}
