//! What is measured. Each case fills its topics, runs the subjects in interleaved rounds and reports every run.

pub(crate) mod instructions;
pub(crate) mod latency;
pub(crate) mod throughput;

use crate::subject::{Assignment, Measure, Subject};
use crate::topics::Shape;

/// A question to the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    /// Records per second, CPU time per record and peak memory, from topics that are full.
    Throughput,
    /// Milliseconds from the instant a record is due to its handling, at 5,000 records per second.
    Latency,
    /// Instructions (callgrind) and allocations per record.
    Instructions,
}

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Instructions => "instructions",
        }
    }
}

/// How often, with what, and whom.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) records: Option<usize>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) shapes: Vec<Shape>,
}

impl Plan {
    /// The subjects of `round`: the hand-written loop and those asked for. Who goes first changes from round to round, so
    /// that nobody always runs after the same neighbour.
    fn subjects(&self, round: usize) -> Vec<Subject> {
        let mut subjects = vec![Subject::Loop];
        subjects.extend(self.subjects.iter().filter(|subject| **subject != Subject::Loop));
        let first = round % subjects.len();
        subjects.rotate_left(first);
        subjects
    }
}

/// A run of `subject` in a group of its own.
fn assignment(subject: Subject, kafka: &support::Kafka, topic: &str, measure: Measure) -> Assignment {
    Assignment {
        subject,
        bootstrap_servers: kafka.bootstrap_servers().to_owned(),
        topic: topic.to_owned(),
        group: support::unique(subject.name()),
        measure,
    }
}
