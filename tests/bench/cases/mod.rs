//! What is measured. Each case fills its topics, runs the subjects in interleaved rounds and reports every run.

pub(crate) mod fan_out;
pub(crate) mod instructions;
pub(crate) mod latency;
pub(crate) mod lifecycle;
pub(crate) mod memory;
pub(crate) mod rebalance;
pub(crate) mod throughput;
pub(crate) mod work_time;

use crate::protocol::{Assignment, Measure, Subject};
use crate::subject::SETTINGS;
use crate::topics::Shape;

/// A question to the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Records per second, CPU time per record and peak memory, from topics that are full.
    Throughput,
    /// Milliseconds from the instant a record is due to its handling, at 5,000 records per second.
    Latency,
    /// Instructions (callgrind) and allocations per record.
    Instructions,
    /// 25,000 records whose handlers wait, against tasks that wait without any Kafka.
    WorkTime,
    /// One group and three groups on one topic in one process.
    FanOut,
    /// Peak memory behind slow handlers, by partitions and prefetch.
    Memory,
    /// From the start of a process to its first record, and from SIGTERM to its end.
    Lifecycle,
    /// How long partitions stand still when members come and go.
    Rebalance,
}

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Instructions => "instructions",
            Self::WorkTime => "work_time",
            Self::FanOut => "fan_out",
            Self::Memory => "memory",
            Self::Lifecycle => "lifecycle",
            Self::Rebalance => "rebalance",
        }
    }
}

/// How often, with what, and whom.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) records: Option<usize>,
    /// Those asked for; none is the choice of the case.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) shapes: Vec<Shape>,
    /// Only settings whose name contains this.
    pub(crate) setting: Option<String>,
}

impl Plan {
    /// Whether `setting` is to be measured.
    fn wants(&self, setting: &str) -> bool {
        self.setting.as_ref().is_none_or(|part| setting.contains(part))
    }

    /// The subjects of `round`: those asked for, or else those of the case, whose first one always runs, as the measure of
    /// the others. Who goes first changes from round to round, so that nobody always runs after the same neighbour.
    fn subjects(&self, round: usize, of_case: &[Subject]) -> Vec<Subject> {
        let Some(measure) = of_case.first() else { return Vec::new() };
        let others = if self.subjects.is_empty() { of_case } else { &self.subjects };
        let mut subjects = vec![*measure];
        subjects.extend(others.iter().filter(|subject| *subject != measure));
        let first = round % subjects.len();
        subjects.rotate_left(first);
        subjects
    }
}

/// Partitions of the case `work_time`.
pub(crate) const WORK_PARTITIONS: i32 = 8;

/// A run of `subject` in a group of its own, with the settings that all have.
fn assignment(subject: Subject, kafka: &support::Kafka, topic: &str, measure: Measure) -> Assignment {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Assignment {
        subject,
        bootstrap_servers: kafka.bootstrap_servers().to_owned(),
        topic: topic.to_owned(),
        group: support::unique(subject.name()),
        client: SETTINGS.into_iter().map(owned).collect(),
        listener: Vec::new(),
        groups: 1,
        work_micros: 0,
        measure,
    }
}
