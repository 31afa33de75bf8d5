//! What the bench and a subject's process say to each other: an assignment as arguments, then lines on standard output.
//!
//! A rival is a package of its own (`rivals/`) and compiles this file and `measure` as they are.

use std::env;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::measure::ThreadFigures;

/// The line by which a subject says that it has handled its first record.
pub(crate) const CONSUMING: &str = "consuming";
const ARGUMENT: &str = "--run-subject";

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
    /// ruststream-rdkafka as it commits when nothing is said: by librdkafka's timer.
    RuststreamAuto,
    /// ruststream-rdkafka that commits what was handled.
    RuststreamTracked,
    /// The same with the client settings that are its own defaults.
    RuststreamDefaults,
    /// Spring Kafka's record listener.
    Spring,
    /// No Kafka at all: one task per partition that decodes the payload and waits as a handler does.
    Bare,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Stream => "stream",
            Self::Listener => "listener",
            Self::RuststreamAuto => "ruststream-auto",
            Self::RuststreamTracked => "ruststream-tracked",
            Self::RuststreamDefaults => "ruststream-defaults",
            Self::Spring => "spring",
            Self::Bare => "bare",
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
    /// librdkafka's settings, for hand-written consumers and rivals.
    pub(crate) client: Vec<(String, String)>,
    /// What is not its default for kafka-listener: dotted keys of its configuration.
    pub(crate) listener: Vec<(String, String)>,
    /// How many groups read the topic in this process.
    pub(crate) groups: u32,
    /// How long each record's handler waits, in microseconds of tokio's clock; it does not await anything where this is 0.
    pub(crate) work_micros: u64,
    pub(crate) measure: Measure,
}

/// From which record to which.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// From the record after the first `warm_up` ones to the one that makes it `records`, of `produced` ones in all.
    Records { warm_up: u64, records: u64, produced: u64 },
    /// The records that say they are measured.
    Latencies { records: usize },
    /// From the first record on, for so long, whatever is handled.
    Seconds(u64),
    /// Nothing is measured here: each record is written to `file` as it is handled, until SIGTERM.
    Trace { file: PathBuf },
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sleeps_per_record: Option<f64>,
    pub(crate) peak_resident_mib: f64,
    /// Of Rust code, what decoding takes included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocations_per_record: Option<f64>,
    /// CPU time and sleeps by thread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
        crate::statistics::to_f64(self.records) / self.seconds
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
