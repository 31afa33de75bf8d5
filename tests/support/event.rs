//! The event log that a fault run is judged by: JSON lines from every member and from the harness itself.
//!
//! A member writes its events inside the handler, one `write` each, so that a kill can cut off what has not happened
//! yet but never what has. Times are those of the machine's monotonic clock and compare between processes.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::clock;

/// One line of an event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of the machine's monotonic clock.
    pub at: u64,
    /// Milliseconds since 1970, for people.
    pub wall: u64,
    /// Who wrote it: one life of one member process, or [`HARNESS`].
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// The name under which the harness writes its own events.
pub const HARNESS: &str = "harness";

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A member process is about to start its listeners.
    Up {
        /// Its process id.
        pid: u32,
    },
    /// A handler was entered.
    Start {
        /// The record's place.
        #[serde(flatten)]
        place: Place,
        /// What identifies the record's content.
        value: String,
    },
    /// A handler was left.
    End {
        /// The record's place.
        #[serde(flatten)]
        place: Place,
        /// How.
        outcome: Outcome,
    },
    /// The assigned hook ran; `partitions` are the new ones.
    Assigned {
        /// Topics and partitions.
        partitions: Vec<(String, i32)>,
    },
    /// The revoked hook before the commit ran.
    Revoking {
        /// Topics and partitions.
        partitions: Vec<(String, i32)>,
    },
    /// The revoked hook after the commit ran.
    Revoked {
        /// Topics and partitions.
        partitions: Vec<(String, i32)>,
    },
    /// The lost hook ran.
    Lost {
        /// Topics and partitions.
        partitions: Vec<(String, i32)>,
    },
    /// A policy that the user wrote down skipped the record.
    Skipped {
        /// The record's place.
        #[serde(flatten)]
        place: Place,
    },
    /// The broker acknowledged the record's dead letter.
    DeadLettered {
        /// The record's place.
        #[serde(flatten)]
        place: Place,
    },
    /// A commit was sent; `place.offset` is the offset committed.
    CommitRequested {
        /// Partition and committed offset.
        #[serde(flatten)]
        place: Place,
    },
    /// A commit was answered without an error, as far as the member can see it.
    CommitAcknowledged {
        /// How long the answer took, in microseconds.
        round_trip: u64,
    },
    /// A member's own account of its stop.
    Report {
        /// Whether everything was drained and committed.
        clean: bool,
        /// The report in words.
        text: String,
    },
    /// The harness: the broker acknowledged a record that was produced.
    Acked {
        /// Where it went.
        #[serde(flatten)]
        place: Place,
        /// What identifies its content.
        value: String,
    },
    /// The harness sent a signal to a member.
    Signal {
        /// The member's name.
        member: String,
        /// Which one.
        signal: Signal,
    },
    /// A member process is gone.
    Exit {
        /// The member's name.
        member: String,
        /// Its exit code, when it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// Something outside the members went away, such as a broker.
    FaultBegan {
        /// What it was.
        fault: String,
        /// The only member that is concerned; everybody without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
    },
    /// It is back.
    FaultEnded {
        /// What it was.
        fault: String,
    },
    /// The harness threw a member out of its group, behind its back.
    Evicted {
        /// The member's name.
        member: String,
    },
    /// The harness is about to do what this member has to end with an error for.
    MayFail {
        /// The member's name.
        member: String,
    },
    /// The harness deleted the records of a partition below `place.offset`, as retention does.
    Truncated {
        /// Partition and first offset that is left.
        #[serde(flatten)]
        place: Place,
    },
    /// The harness is about to delete what the group has committed.
    OffsetsDeleted,
    /// The harness deleted the topic and created it again: from here on it is another one.
    Recreated {
        /// The topic.
        topic: String,
    },
    /// What was promised for this row in particular has not come about.
    Broken {
        /// What, and what came about instead.
        promise: String,
    },
    /// The final phase is over; the lag is 0 or will not become it.
    Finished,
}

/// A record's place in the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl Place {
    /// A record's place.
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64) -> Self {
        Self { topic: topic.into(), partition, offset }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

/// What identifies a record's content: its order id, or a digest of its bytes where it has none.
pub fn value_of(payload: Option<&[u8]>) -> String {
    const MARK: &[u8] = b"\"orderId\":\"";

    let Some(payload) = payload else { return "null".to_owned() };
    let id = payload.windows(MARK.len()).position(|window| window == MARK).and_then(|at| {
        let rest = &payload[at + MARK.len()..];
        let end = rest.iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(&rest[..end]).ok()
    });
    // FNV-1a: short, and the same in every process.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let digest = || format!("#{:016x}", payload.iter().fold(0xcbf2_9ce4_8422_2325, step));
    id.map_or_else(digest, str::to_owned)
}

/// How a handler was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned `Ok`.
    Ok,
    /// It returned an error.
    Err,
    /// It panicked.
    Panic,
    /// Its future was dropped before it was ready.
    Cancelled,
}

/// The signals that the harness uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Stop in good order.
    Term,
    /// End now.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Cont,
}

/// An event log that is being written.
#[derive(Debug)]
pub struct EventLog {
    by: String,
    file: File,
}

impl EventLog {
    /// Appends to the log at `path` in the name of `by`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn append(path: &Path, by: impl Into<String>) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("open event log `{}`", path.display()))?;
        Ok(Self { by: by.into(), file })
    }

    /// Writes to standard output in the name of `by`.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub fn stdout(by: impl Into<String>) -> anyhow::Result<Self> {
        let file = File::from(rustix::io::dup(std::io::stdout()).context("standard output is closed")?);
        Ok(Self { by: by.into(), file })
    }

    /// Writes one event: one line, one `write`, no buffer.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, what: What) -> anyhow::Result<()> {
        self.write_as_of(clock::monotonic(), what)
    }

    /// Writes an event that happened before, at this reading of the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`EventLog::write`].
    pub fn write_as_of(&self, at: u64, what: What) -> anyhow::Result<()> {
        let event = Event { at, wall: clock::wall(), by: self.by.clone(), what };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        Ok((&self.file).write_all(&line)?)
    }
}

/// Parses a log. A last line without its end belongs to a process that was killed in the middle of it, and is left out.
///
/// # Errors
///
/// When a whole line is no event.
pub fn parse(log: &str) -> anyhow::Result<Vec<Event>> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no event: `{line}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_back_as_it_was_written_and_without_a_line_that_a_kill_cut_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = EventLog::append(file.path(), "m1").unwrap();
        let place = Place::new("orders", 3, 17);
        let written = [
            What::Start { place: place.clone(), value: "ORDER-1".to_owned() },
            What::End { place, outcome: Outcome::Cancelled },
            What::Revoked { partitions: vec![("orders".to_owned(), 3)] },
            What::Signal { member: "m2".to_owned(), signal: Signal::Stop },
            What::Exit { member: "m2".to_owned(), code: None, signal: Some(9) },
            What::Finished,
        ];
        for what in &written {
            log.write(what.clone()).unwrap();
        }

        let mut text = std::fs::read_to_string(file.path()).unwrap();
        text.push_str(r#"{"at":1,"wall":2,"by":"m1","event":"sta"#);
        let read = parse(&text).unwrap();

        assert_eq!(read.iter().map(|event| event.what.clone()).collect::<Vec<_>>(), written);
        assert!(read.is_sorted_by_key(|event| event.at));
        assert!(parse("{}\n").is_err());
    }
}
