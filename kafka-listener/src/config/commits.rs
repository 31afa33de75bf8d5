//! When a listener's records are committed, and what that leaves of its other settings.

use std::time::Duration;

use super::listener::{Remarks, Written, contradiction};
use super::parse::spell;
use super::reader::{Reader, Scope};
use super::report::{Problem, Report};
use super::settings::{AckMode, FailurePolicies, FailurePolicy, OnFailure, RetrySettings, RetryTopicSettings};
use super::value::Origin;

/// When finished records are committed.
pub(super) struct Commits {
    pub(super) ack_mode: AckMode,
    pub(super) synchronous: bool,
    pub(super) ack_time: Duration,
    pub(super) ack_count: u32,
    pub(super) async_acks: bool,
    pub(super) ack_drain: Option<Duration>,
    pub(super) commit_interval: Duration,
    pub(super) max_commit_delay: Duration,
    mode_scope: Scope,
}

impl Commits {
    /// The listener commits nothing: what a shared block says of commits is for others.
    pub(super) fn of_nobody(&mut self, written: &Written<'_>, reader: &mut Reader<'_>) {
        if written.takes_acknowledgment {
            reader.report.add(
                Problem::new(
                    &written.place,
                    format!("listener `{}` takes an `Acknowledgment` and commits nothing", written.possible.listener),
                )
                .help("with `partitions`, `commit = true` and a `group_id` commit what is acknowledged"),
            );
        }
        (self.ack_mode, self.synchronous, self.async_acks, self.ack_drain) = (AckMode::Batch, false, false, None);
    }

    pub(super) fn read(written: &Written<'_>, reader: &mut Reader<'_>, remarks: &mut Remarks) -> Self {
        let mode = reader.choice("ack_mode");
        let sync_commits = reader.boolean("sync_commits");
        let ack_time = reader.duration("ack_time");
        let ack_count = reader.integer("ack_count");
        let async_acks = reader.boolean("async_acks");
        let ack_drain = reader.optional_duration("ack_drain");
        let commit_interval = reader.duration("commit_interval");
        let max_commit_delay = reader.duration("max_commit_delay");
        let auto_commit = reader.boolean("enable_auto_commit");
        let auto_interval = reader.duration("auto_commit_interval");

        if auto_commit.value && mode.is_set() {
            reader.report.add(
                Problem::new(
                    &auto_commit.origin,
                    format!("`enable_auto_commit` contradicts `ack_mode = \"{}\"`", mode.value),
                )
                .help(format!("`ack_mode` is set at {}", mode.origin))
                .help("`enable_auto_commit = true` is `ack_mode = \"time\"` with `ack_time` = `auto_commit_interval`"),
            );
        }
        if !commit_interval.broken && !max_commit_delay.broken && commit_interval.value >= max_commit_delay.value {
            reader.report.add(contradiction(
                "commit_interval",
                &commit_interval,
                "be shorter than",
                "max_commit_delay",
                &max_commit_delay,
            ));
        }
        let ack_mode = if auto_commit.value { AckMode::Time } else { mode_named(mode.value) };
        // A mode that was refused says nothing of what it would have read.
        if !mode.broken && !auto_commit.broken {
            let name = if auto_commit.value { "time" } else { mode.value };
            let unread = &mut remarks.unread;
            let ignored = |key: &str, modes: &str, origin: &Origin| ignored(name, key, modes, origin);
            let by_time = matches!(ack_mode, AckMode::Time | AckMode::CountTime) && !auto_commit.value;
            let by_count = matches!(ack_mode, AckMode::Count | AckMode::CountTime);
            unread.note_setting(&ack_time, by_time, || ignored("ack_time", "`time`, `count_time`", &ack_time.origin));
            unread.note_setting(&ack_count, by_count, || {
                ignored("ack_count", "`count`, `count_time`", &ack_count.origin)
            });
            let by_record = ack_mode == AckMode::Record;
            for (key, switch, is_read, modes) in [
                ("sync_commits", &sync_commits, by_record, "`record`"),
                ("async_acks", &async_acks, is_manual(ack_mode), MANUAL),
            ] {
                if switch.value {
                    unread.note_setting(switch, is_read, || ignored(key, modes, &switch.origin));
                }
            }
            unread.note_setting(&ack_drain, is_manual(ack_mode), || ignored("ack_drain", MANUAL, &ack_drain.origin));
            unread.note_setting(&auto_interval, auto_commit.value, || {
                Problem::new(
                    &auto_interval.origin,
                    "`auto_commit_interval` is not read without `enable_auto_commit = true`",
                )
                .help("the framework's own commits are paced by `commit_interval`")
            });
        }
        if !mode.broken && !auto_commit.broken {
            let set_at = if auto_commit.value { &auto_commit.origin } else { &mode.origin };
            check_signature(written, ack_mode, set_at, reader.report);
        }
        if auto_commit.value {
            remarks.notes.push(format!(
                "enable_auto_commit: finished records are committed every {}, as by ack_mode = \"time\"",
                spell(auto_interval.value)
            ));
        }
        Self {
            ack_mode,
            synchronous: sync_commits.value,
            ack_time: if auto_commit.value { auto_interval.value } else { ack_time.value },
            ack_count: u32::try_from(ack_count.value).unwrap_or(u32::MAX),
            async_acks: async_acks.value,
            ack_drain: ack_drain.value,
            commit_interval: commit_interval.value,
            max_commit_delay: max_commit_delay.value,
            mode_scope: mode.scope,
        }
    }

    /// Where records are put off: as read, unless records do not wait for those before them, or cannot be tried again.
    pub(super) fn retry_topics(
        &self,
        reader: &mut Reader<'_>,
        read: Option<RetryTopicSettings>,
        remarks: &mut Remarks,
    ) -> Option<RetryTopicSettings> {
        let (setting, reason) = match self.ack_mode {
            AckMode::AtMostOnce => (
                "`ack_mode = \"at_most_once\"`",
                "a record that is committed before it is handled cannot be tried again",
            ),
            _ if self.async_acks => {
                ("`async_acks = true`", "records that wait until they are due are delivered in order")
            }
            _ => return read,
        };
        let read = read?;
        match reader.entry("retry_topics") {
            Some((scope, entry)) if scope >= self.mode_scope => {
                let message = format!("`retry_topics` contradicts {setting}");
                reader.report.add(Problem::new(&entry.node.origin, message).help(reason));
                Some(read)
            }
            _ => {
                remarks.notes.push(format!("`retry_topics` does not apply: {setting}"));
                None
            }
        }
    }

    /// How failures are dealt with: as read, but for `at_most_once`, whose records are never tried again.
    pub(super) fn failures(
        &self,
        reader: &mut Reader<'_>,
        read: FailurePolicies,
        remarks: &mut Remarks,
    ) -> FailurePolicies {
        if self.ack_mode != AckMode::AtMostOnce {
            return read;
        }
        let drops = |policy: &FailurePolicy| {
            matches!(policy.action, OnFailure::Skip | OnFailure::Stop) && policy.retry == read.default.retry
        };
        let drops_all = drops(&read.default) && read.by_class.iter().all(|(_, policy)| drops(policy));
        for (key, is_allowed) in [("retry", false), ("on_failure", drops_all)] {
            for (scope, entry) in reader.entries(key).into_iter().filter(|_| !is_allowed) {
                if scope >= self.mode_scope {
                    reader.report.add(
                        Problem::new(&entry.node.origin, format!("`{key}` contradicts `ack_mode = \"at_most_once\"`"))
                            .help("a record that is committed before it is handled cannot be tried again or held")
                            .help("`on_failure` may be `skip`, which is its default there, or `stop`"),
                    );
                } else {
                    remarks.notes.push(format!("at_most_once: `{key}` of {} does not apply", entry.node.origin));
                }
            }
        }
        let once = RetrySettings { attempts: Some(1), ..read.default.retry };
        let skip = FailurePolicy { retry: once, action: OnFailure::Skip };
        if !drops_all {
            return FailurePolicies { default: skip, by_class: Vec::new() };
        }
        let once = |policy: FailurePolicy| FailurePolicy { retry: once, ..policy };
        FailurePolicies {
            default: once(read.default),
            by_class: read.by_class.into_iter().map(|(class, policy)| (class, once(policy))).collect(),
        }
    }
}

/// The modes that have acknowledgements, for messages.
const MANUAL: &str = "`manual`, `manual_immediate`";

fn is_manual(mode: AckMode) -> bool {
    matches!(mode, AckMode::Manual | AckMode::ManualImmediate)
}

fn mode_named(name: &str) -> AckMode {
    match name {
        "record" => AckMode::Record,
        "time" => AckMode::Time,
        "count" => AckMode::Count,
        "count_time" => AckMode::CountTime,
        "manual" => AckMode::Manual,
        "manual_immediate" => AckMode::ManualImmediate,
        "at_most_once" => AckMode::AtMostOnce,
        _ => AckMode::Batch,
    }
}

/// A key that the mode `name` has no use for.
fn ignored(name: &str, key: &str, modes: &str, origin: &Origin) -> Problem {
    Problem::new(origin, format!("`{key}` is not read with `ack_mode = \"{name}\"`"))
        .help(format!("it belongs to `ack_mode` = {modes}"))
}

/// An `Acknowledgment` in the signature and a manual mode go together.
fn check_signature(written: &Written<'_>, mode: AckMode, set_at: &Origin, report: &mut Report) {
    let is_manual = is_manual(mode);
    if is_manual == written.takes_acknowledgment {
        return;
    }
    let origin = if matches!(set_at, Origin::Default) { &written.place } else { set_at };
    let problem = if is_manual {
        Problem::new(
            origin,
            format!("listener `{}` takes no `Acknowledgment`, which this `ack_mode` needs", written.possible.listener),
        )
        .help("a parameter `ack: Acknowledgment`, or another `ack_mode`")
    } else {
        Problem::new(
            origin,
            format!("listener `{}` takes an `Acknowledgment`, which its `ack_mode` has not", written.possible.listener),
        )
        .help("`ack_mode = \"manual\"`, or `\"manual_immediate\"`")
    };
    let is_elsewhere = !matches!(set_at, Origin::Default | Origin::Attribute { .. });
    report.add(if is_elsewhere { problem.help(format!("it is written at {}", written.place)) } else { problem });
}
