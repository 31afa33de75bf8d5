//! The consumers that are compared. Each runs in a process of its own, with the same client settings and the same
//! handler, and prints what it took as one line of JSON.

mod client;
mod listener;
mod poll_loop;
mod stream_loop;

pub(crate) use self::client::SETTINGS;

use std::env;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::measure::{Ledger, ThreadFigures, Threads, Usage, allocations, peak_resident_bytes};
use crate::statistics::quantile;

/// The line by which a subject says that it has handled its first record.
pub(crate) const CONSUMING: &str = "consuming";
const ARGUMENT: &str = "--run-subject";
const DEADLINE: Duration = Duration::from_secs(60);

/// A consumer to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// A hand-written `BaseConsumer::poll` loop.
    Loop,
    /// A hand-written `StreamConsumer::recv` loop.
    Stream,
    /// kafka-listener.
    Listener,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Stream => "stream",
            Self::Listener => "listener",
        }
    }
}

/// What a subject's process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) subject: Subject,
    pub(crate) bootstrap_servers: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) measure: Measure,
}

/// From which record to which.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// From the record after the first `warm_up` ones to the last of `records`.
    Records { warm_up: u64, records: u64 },
    /// The records that say they are measured.
    Latencies { records: usize },
}

/// What a subject took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Records between the two marks.
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    /// User and system time of all threads between the marks.
    pub(crate) cpu_micros_per_record: f64,
    /// How often a thread went to sleep, the bench's own thread included (once a millisecond).
    pub(crate) sleeps_per_record: f64,
    pub(crate) peak_resident_mib: f64,
    /// Of Rust code, what decoding takes included.
    pub(crate) allocations_per_record: f64,
    /// The same by thread.
    pub(crate) threads: Vec<ThreadFigures>,
    /// Milliseconds from the instant a record was due to its handling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Figures {
    pub(crate) fn records_per_second(&self) -> f64 {
        to_f64(self.records) / self.seconds
    }
}

impl Assignment {
    /// The assignment that this process was started with, if it was started as a subject.
    pub(crate) fn from_arguments() -> anyhow::Result<Option<Self>> {
        let mut arguments = env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (Some(ARGUMENT), Some(json)) => Ok(Some(serde_json::from_str(&json)?)),
            _ => Ok(None),
        }
    }

    /// The arguments that start this binary as the subject.
    pub(crate) fn to_arguments(&self) -> anyhow::Result<[String; 2]> {
        Ok([ARGUMENT.to_owned(), serde_json::to_string(self)?])
    }
}

/// Runs the subject in this process until everything is measured, and prints the figures.
pub(crate) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    let ledger = Ledger::open(match assignment.measure {
        Measure::Latencies { records } => records,
        Measure::Records { .. } => 0,
    });
    let failure = start(assignment);
    let first = wait_until(&failure, || ledger.count() > 0)?;
    say(CONSUMING)?;
    let (from, until) = match assignment.measure {
        Measure::Records { warm_up: 0, .. } => (first, wait_for(&failure, assignment, ledger)?),
        Measure::Records { warm_up, .. } => {
            (wait_until(&failure, || ledger.count() >= warm_up)?, wait_for(&failure, assignment, ledger)?)
        }
        Measure::Latencies { .. } => {
            (wait_until(&failure, || ledger.measured() > 0)?, wait_for(&failure, assignment, ledger)?)
        }
    };
    let figures = until.since(&from, &ledger.latencies())?;
    say(&serde_json::to_string(&figures)?)
}

fn wait_for(failure: &Failure, assignment: &Assignment, ledger: &Ledger) -> anyhow::Result<Mark> {
    match assignment.measure {
        Measure::Records { records, .. } => {
            let mark = wait_until(failure, || ledger.count() >= records)?;
            anyhow::ensure!(mark.count == records, "{} records handled where {records} were produced", mark.count);
            Ok(mark)
        }
        Measure::Latencies { records } => wait_until(failure, || ledger.measured() >= records),
    }
}

/// Starts the consumer on threads of its own. They end with the process, which leaves as soon as it has measured.
fn start(assignment: &Assignment) -> Failure {
    let (failed, failure) = std::sync::mpsc::sync_channel(1);
    let assignment = assignment.clone();
    std::thread::spawn(move || {
        let result = match assignment.subject {
            Subject::Loop => poll_loop::run(&assignment),
            Subject::Stream => stream_loop::run(&assignment),
            Subject::Listener => listener::run(&assignment),
        };
        let err = result.err().unwrap_or_else(|| anyhow::anyhow!("the subject ended before everything was measured"));
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
            sleeps_per_record: to_f64(self.usage.sleeps - from.usage.sleeps) * per_record,
            peak_resident_mib: to_f64(peak_resident_bytes()?) / to_f64(1 << 20),
            allocations_per_record: to_f64(self.allocations - from.allocations) * per_record,
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

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of one run are far below 2^52")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
