//! One listener's settings: scopes to values, values against each other, values to librdkafka's properties.

use std::time::Duration;

use super::cluster::Cluster;
use super::commits::Commits;
use super::failures;
use super::group::Group;
use super::parse::spell;
use super::reader::{Described, Read, Reader, Scope};
use super::report::{Problem, Report, shown};
use super::retry_topics;
use super::send_to;
use super::settings::{Codec, DeadLetterSettings, Limits, ListenerSettings, MissingTopics, OnCorrupt};
use super::subscription::{Subscription, illegal_topic};
use super::value::Origin;
use crate::dead_letter::HeaderStyle;

/// Settings that the mode of a listener leaves unread. In a shared block they may serve another listener; nobody's
/// setting is a mistake.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    read: Vec<Origin>,
    unread: Vec<(Scope, Problem)>,
}

impl Unread {
    pub(super) fn note(&mut self, origin: &Origin, scope: Scope, is_read: bool, problem: impl FnOnce() -> Problem) {
        if scope == Scope::Default {
            return;
        }
        if is_read {
            self.read.push(origin.clone());
        } else {
            self.unread.push((scope, problem()));
        }
    }

    pub(super) fn note_setting<T>(&mut self, setting: &Read<T>, is_read: bool, problem: impl FnOnce() -> Problem) {
        self.note(&setting.origin, setting.scope, is_read, problem);
    }

    pub(crate) fn finish(self, report: &mut Report) {
        for (scope, problem) in self.unread {
            if scope >= Scope::Attribute || !self.read.contains(&problem.origin) {
                report.add(problem);
            }
        }
    }
}

/// What is gathered beside the settings.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    pub(crate) notes: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) unread: Unread,
}

/// What the code of a listener says of itself.
pub(super) struct Written<'d> {
    /// Its id, and the errors that it may fail with.
    pub(super) possible: failures::Possible<'d>,
    /// Where it is written.
    pub(super) place: Origin,
    /// Whether a parameter is an `Acknowledgment`.
    pub(super) takes_acknowledgment: bool,
    /// Whether what it returns is sent.
    pub(super) replies: bool,
}

/// Reads the settings of a listener.
pub(super) fn read(
    written: &Written<'_>,
    mut reader: Reader<'_>,
    cluster: &Cluster,
    remarks: &mut Remarks,
) -> (ListenerSettings, Vec<Described>) {
    let (possible, definition) = (&written.possible, &written.place);
    let id = possible.listener;
    let subscription = Subscription::read(id, definition, &mut reader, remarks);
    let client_id = reader.optional_text("client_id").value.unwrap_or_else(|| format!("{}-{id}", cluster.client_id));
    let auto_startup = reader.boolean("auto_startup").value;
    let shared_group = reader.boolean("shared_group").value;
    let missing_topics = match reader.choice("missing_topics").value {
        "fail" => MissingTopics::Fail,
        _ => MissingTopics::Wait,
    };
    let concurrency = reader.optional_integer("concurrency").value.map(count);
    let consumers = count(reader.integer("consumers").value);
    let commits = commits(written, &subscription, &mut reader, remarks);
    let group = Group::read(&mut reader, subscription.standalone.is_none(), remarks);
    let codec = codec(possible, &mut reader);
    let send_to = send_to::read(written, &subscription, cluster, &mut reader, remarks);
    let retry_topics = retry_topics::read(&subscription.topics, &subscription.group_id, cluster, &mut reader);
    subscription.refuse_retry_topics(retry_topics.is_some(), &mut reader);
    let retry_topics = commits.retry_topics(&mut reader, retry_topics, remarks);
    let failures = failures::read(possible, retry_topics.is_some(), &mut reader, remarks);
    let failures = commits.failures(&mut reader, failures, remarks);
    remarks
        .notes
        .extend(retry_topics.as_ref().map(|of_them| retry_topics::note(of_them, &subscription.topics, &failures)));
    let handler_timeout = reader.optional_duration("handler_timeout").value;
    let dead_letter = dead_letter(&subscription.topics, &mut reader);
    if failures.publish_dead_letters() && !cluster.producer.is_safe {
        let origin = reader.entry("on_failure").map_or(definition, |(_, entry)| &entry.node.origin);
        reader.report.add(unsafe_producer(origin, "dead letters"));
    }
    subscription.refuse_dead_letters(failures.publish_dead_letters(), &mut reader);
    let on_corrupt = on_corrupt(&mut reader);
    let shutdown_timeout = reader.duration("shutdown_timeout").value;
    let limits = limits(&mut reader);
    let max_poll_records = count(reader.integer("max_poll_records").value);
    let client_properties = group.client_properties(&subscription.client_group_id(id), &mut reader, cluster);
    let settings = ListenerSettings {
        id: id.to_owned(),
        topics: subscription.topics,
        topic_pattern: subscription.pattern,
        standalone: subscription.standalone,
        group_id: subscription.group_id,
        client_id,
        auto_startup,
        shared_group,
        missing_topics,
        concurrency,
        consumers,
        ack_mode: commits.ack_mode,
        sync_commits: commits.synchronous,
        ack_time: commits.ack_time,
        ack_count: commits.ack_count,
        async_acks: commits.async_acks,
        ack_drain: commits.ack_drain,
        commit_interval: commits.commit_interval,
        max_commit_delay: commits.max_commit_delay,
        auto_offset_reset: group.auto_offset_reset,
        group_protocol: group.protocol,
        group_instance_id: group.instance_id,
        leave_on_stop: group.leave_on_stop,
        on_fatal: group.on_fatal,
        on_stuck: group.on_stuck,
        session_timeout: group.session_timeout.value,
        max_poll_interval: group.max_poll_interval.value,
        max_poll_records,
        codec,
        failures,
        handler_timeout,
        on_corrupt,
        dead_letter,
        send_to,
        retry_topics,
        reads_retry_topics: false,
        revoke_timeout: group.revoke_timeout.value,
        shutdown_timeout,
        limits,
        client_properties,
    };
    (settings, reader.described)
}

fn on_corrupt(reader: &mut Reader<'_>) -> OnCorrupt {
    match reader.choice("on_corrupt").value {
        "skip" => OnCorrupt::Skip,
        _ => OnCorrupt::Hold,
    }
}

/// `what` would be lost.
pub(super) fn unsafe_producer(origin: &Origin, what: &str) -> Problem {
    Problem::new(origin, format!("{what} need a producer that loses nothing"))
        .help("set `acks = \"all\"` and `enable_idempotence = true` in `[kafka.producer]`, their defaults")
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    reader.inner("limits", |limits| Limits {
        in_flight_records: count(limits.integer("in_flight_records").value),
        in_flight_bytes: limits.size("in_flight_bytes").value,
        max_payload: limits.size("max_payload").value,
    })
}

/// When finished records are committed; never, by a listener in no group that does not say so.
fn commits(
    written: &Written<'_>,
    subscription: &Subscription,
    reader: &mut Reader<'_>,
    remarks: &mut Remarks,
) -> Commits {
    let mut commits = Commits::read(written, reader, remarks);
    subscription.refuse_unread(reader);
    if subscription.standalone.as_ref().is_some_and(|standalone| !standalone.commit) {
        commits.of_nobody(written, reader);
    }
    commits
}

/// A listener that names a type decodes with it: what shared blocks say is for others.
fn codec(possible: &failures::Possible<'_>, reader: &mut Reader<'_>) -> Codec {
    let read = reader.choice("codec");
    if possible.has_own_codec && read.scope >= Scope::Attribute {
        reader.report.add(
            Problem::new(&read.origin, format!("`codec` cannot be set for listener `{}`", possible.listener))
                .help("its attribute names a type that decodes"),
        );
    }
    match read.value {
        "string" => Codec::Text,
        "bytes" => Codec::Bytes,
        _ => Codec::Json,
    }
}

/// A number that its key's range keeps well inside `usize`.
fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn dead_letter(topics: &[String], reader: &mut Reader<'_>) -> DeadLetterSettings {
    reader.inner("dead_letter", |reader| {
        let topic = reader.text("topic");
        let headers = match reader.choice("headers").value {
            "plain" => HeaderStyle::Plain,
            _ => HeaderStyle::Spring,
        };
        let settings = DeadLetterSettings { topic: topic.value, headers };
        for source in topics.iter().filter(|_| !topic.broken) {
            let name = settings.topic_for(source);
            if let Some(reason) = illegal_topic(&name) {
                let message = format!("`{}` is not the name of a dead letter topic", shown(&name));
                reader.report.add(Problem::new(&topic.origin, message).help(reason));
                break;
            }
            if topics.contains(&name) {
                reader.report.add(
                    Problem::new(&topic.origin, format!("dead letters of `{source}` would go to `{name}`"))
                        .help("the listener reads that topic itself, so a record that fails would come back for ever"),
                );
            }
        }
        settings
    })
}

/// Two durations that do not go together; told at the one that was set, the more specific one of two.
pub(super) fn contradiction(
    left: &str,
    one: &Read<Duration>,
    relation: &str,
    right: &str,
    other: &Read<Duration>,
) -> Problem {
    let (origin, elsewhere) =
        if other.scope > one.scope { (&other.origin, &one.origin) } else { (&one.origin, &other.origin) };
    let message = format!("`{left}` ({}) must {relation} `{right}` ({})", spell(one.value), spell(other.value));
    let where_else = match elsewhere {
        Origin::Default => format!("`{}` is the default", if other.scope > one.scope { left } else { right }),
        place => format!("the other one is set at {place}"),
    };
    Problem::new(origin, message).help(where_else)
}
