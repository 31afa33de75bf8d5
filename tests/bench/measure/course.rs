//! The course of a subject: it starts, warms up, is measured between two marks, and prints its figures.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Ledger, Threads, Usage, allocations, peak_resident_bytes, trace};
use crate::protocol::{Assignment, CONSUMING, Figures, Latency, Measure};
use crate::statistics::{quantile, to_f64};

const DEADLINE: Duration = Duration::from_secs(60);

/// A consumer: returns when it was told to stop, or has failed.
pub(crate) type Consume = fn(&Assignment) -> anyhow::Result<()>;

/// Runs the subject in this process until everything is measured, and prints the figures.
pub(crate) fn run(assignment: &Assignment, consume: Consume) -> anyhow::Result<()> {
    let ledger = Ledger::open(match &assignment.measure {
        Measure::Latencies { records } => *records,
        Measure::Records { .. } | Measure::Seconds(_) => 0,
        Measure::Trace { file } => {
            trace::open(file)?;
            return consume(assignment);
        }
    });
    let failure = start(assignment, consume);
    let first = wait_until(&failure, || ledger.count() > 0)?;
    say(CONSUMING)?;
    let (from, until) = match assignment.measure {
        Measure::Records { warm_up, records, produced } => {
            let from = if warm_up == 0 { first } else { wait_until(&failure, || ledger.count() >= warm_up)? };
            let until = wait_until(&failure, || ledger.count() >= records)?;
            anyhow::ensure!(until.count <= produced, "{} records handled where {produced} were produced", until.count);
            (from, until)
        }
        Measure::Latencies { records } => {
            let from = wait_until(&failure, || ledger.measured() > 0)?;
            (from, wait_until(&failure, || ledger.measured() >= records)?)
        }
        Measure::Seconds(seconds) => {
            let end = first.at + Duration::from_secs(seconds);
            (first, wait_until(&failure, || Instant::now() >= end)?)
        }
        Measure::Trace { .. } => anyhow::bail!("a trace has no marks"),
    };
    let figures = until.since(&from, &ledger.latencies())?;
    say(&serde_json::to_string(&figures)?)
}

/// Starts the consumer on threads of its own. They end with the process, which leaves as soon as it has measured.
fn start(assignment: &Assignment, consume: Consume) -> Failure {
    let (failed, failure) = std::sync::mpsc::sync_channel(1);
    let assignment = assignment.clone();
    std::thread::spawn(move || {
        let ended = || anyhow::anyhow!("the subject ended before everything was measured");
        let err = consume(&assignment).err().unwrap_or_else(ended);
        // Nobody listens once everything is measured.
        drop(failed.send(err));
    });
    failure
}

type Failure = std::sync::mpsc::Receiver<anyhow::Error>;

/// Everything that is read at one moment.
#[derive(Debug)]
struct Mark {
    at: Instant,
    usage: Usage,
    threads: Threads,
    allocations: u64,
    count: u64,
}

impl Mark {
    fn now() -> Self {
        let count = Ledger::open(0).count();
        Self { at: Instant::now(), usage: Usage::now(), threads: Threads::now(), allocations: allocations(), count }
    }

    fn since(&self, from: &Self, latencies: &[u64]) -> anyhow::Result<Figures> {
        let records = self.count - from.count;
        anyhow::ensure!(records > 0, "nothing was handled between the marks; take more records");
        let per_record = 1.0 / to_f64(records);
        let millis = |share| to_f64(quantile(latencies, share)) / 1e6;
        Ok(Figures {
            records,
            seconds: self.at.duration_since(from.at).as_secs_f64(),
            cpu_micros_per_record: self.usage.cpu.saturating_sub(from.usage.cpu).as_secs_f64() * 1e6 * per_record,
            sleeps_per_record: Some(to_f64(self.usage.sleeps - from.usage.sleeps) * per_record),
            peak_resident_mib: to_f64(peak_resident_bytes()?) / to_f64(1 << 20),
            allocations_per_record: Some(to_f64(self.allocations - from.allocations) * per_record),
            threads: self.threads.since(&from.threads, per_record),
            latency: (!latencies.is_empty()).then(|| Latency {
                p50: millis(0.5),
                p99: millis(0.99),
                p999: millis(0.999),
                max: millis(1.0),
            }),
        })
    }
}

/// Looks every millisecond: that is cheap beside every subject, and exact enough beside runs of a second.
fn wait_until(failure: &Failure, condition: impl Fn() -> bool) -> anyhow::Result<Mark> {
    let give_up = Instant::now() + DEADLINE;
    while !condition() {
        if let Ok(err) = failure.try_recv() {
            return Err(err);
        }
        anyhow::ensure!(Instant::now() < give_up, "not measured after {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(Mark::now())
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("print to the bench")
}
