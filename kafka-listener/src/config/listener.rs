//! One listener's settings: scopes to values, values against each other, values to librdkafka's properties.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use super::cluster::{Cluster, describe_raw};
use super::failures;
use super::parse::spell;
use super::properties;
use super::reader::{Described, Read, Reader, Scope};
use super::report::{Problem, Report, shown};
use super::settings::{AckMode, AutoOffsetReset, Limits, ListenerSettings, MissingTopics, OnCorrupt};
use super::value::Origin;

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

    fn note_setting<T>(&mut self, setting: &Read<T>, is_read: bool, problem: impl FnOnce() -> Problem) {
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

/// Reads the settings of a listener; `definition` is where it is written.
pub(super) fn read(
    possible: &failures::Possible<'_>,
    definition: &Origin,
    mut reader: Reader<'_>,
    cluster: &Cluster,
    remarks: &mut Remarks,
) -> (ListenerSettings, Vec<Described>) {
    let id = possible.listener;
    let topics = topics(id, definition, &mut reader);
    let group_id = group_id(id, definition, &mut reader);
    let client_id = reader.optional_text("client_id").value.unwrap_or_else(|| format!("{}-{id}", cluster.client_id));
    let auto_startup = reader.boolean("auto_startup").value;
    let shared_group = reader.boolean("shared_group").value;
    let missing_topics = match reader.choice("missing_topics").value {
        "fail" => MissingTopics::Fail,
        _ => MissingTopics::Wait,
    };
    let concurrency = reader.optional_integer("concurrency").value.map(count);
    let consumers = count(reader.integer("consumers").value);
    let commits = Commits::read(&mut reader, remarks);
    let group = Group::read(&mut reader, remarks);
    let failures = failures::read(possible, &mut reader, remarks);
    let handler_timeout = reader.optional_duration("handler_timeout").value;
    let on_corrupt = match reader.choice("on_corrupt").value {
        "skip" => OnCorrupt::Skip,
        _ => OnCorrupt::Hold,
    };
    let shutdown_timeout = reader.duration("shutdown_timeout").value;
    let limits = reader.inner("limits", |limits| Limits {
        in_flight_records: count(limits.integer("in_flight_records").value),
        in_flight_bytes: limits.size("in_flight_bytes").value,
        max_payload: limits.size("max_payload").value,
    });
    let max_poll_records = count(reader.integer("max_poll_records").value);
    let client_properties = group.client_properties(&group_id, &mut reader, cluster);
    let settings = ListenerSettings {
        id: id.to_owned(),
        topics,
        group_id,
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
        commit_interval: commits.commit_interval,
        max_commit_delay: commits.max_commit_delay,
        auto_offset_reset: group.auto_offset_reset,
        session_timeout: group.session_timeout.value,
        max_poll_interval: group.max_poll_interval.value,
        max_poll_records,
        failures,
        handler_timeout,
        on_corrupt,
        revoke_timeout: group.revoke_timeout.value,
        shutdown_timeout,
        limits,
        client_properties,
    };
    (settings, reader.described)
}

/// A number that its key's range keeps well inside `usize`.
fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn topics(id: &str, definition: &Origin, reader: &mut Reader<'_>) -> Vec<String> {
    let read = reader.texts("topics");
    let mut topics: Vec<String> = Vec::new();
    let mut refused = false;
    for (topic, origin) in read.value {
        if let Some(reason) = illegal_topic(&topic) {
            refused = true;
            reader
                .report
                .add(Problem::new(&origin, format!("`{}` is not the name of a topic", shown(&topic))).help(reason));
        } else if topics.contains(&topic) {
            reader.report.add(Problem::new(&origin, format!("topic `{topic}` is named twice")));
        } else {
            topics.push(topic);
        }
    }
    if topics.is_empty() && !read.broken && !refused {
        let origin = if read.scope == Scope::Default { definition } else { &read.origin };
        reader.report.add(
            Problem::new(origin, format!("listener `{id}` has no topic"))
                .help(format!("`topic = \"…\"` in the attribute, or `topic` in `[listeners.{id}]`")),
        );
    }
    topics
}

/// Kafka's rule for names of topics.
fn illegal_topic(topic: &str) -> Option<&'static str> {
    if topic.starts_with('^') {
        return Some("patterns are not available in this version: name each topic");
    }
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !topic.chars().all(legal) {
        return Some("Kafka allows letters, digits, `.`, `_` and `-`");
    }
    if topic.len() > 249 || matches!(topic, "." | "..") {
        return Some("Kafka allows up to 249 characters, and neither `.` nor `..`");
    }
    None
}

fn group_id(id: &str, definition: &Origin, reader: &mut Reader<'_>) -> String {
    let read = reader.optional_text("group_id");
    if read.value.is_none() && !read.broken {
        reader.report.add(
            Problem::new(definition, format!("listener `{id}` has no group"))
                .help(format!("`group_id = \"…\"` in the attribute, in `[listeners.{id}]` or in `[listener]`")),
        );
    }
    read.value.unwrap_or_default()
}

/// When finished records are committed.
struct Commits {
    ack_mode: AckMode,
    synchronous: bool,
    ack_time: Duration,
    ack_count: u32,
    commit_interval: Duration,
    max_commit_delay: Duration,
}

impl Commits {
    fn read(reader: &mut Reader<'_>, remarks: &mut Remarks) -> Self {
        let mode = reader.choice("ack_mode");
        let sync_commits = reader.boolean("sync_commits");
        let ack_time = reader.duration("ack_time");
        let ack_count = reader.integer("ack_count");
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
        let ack_mode = match mode.value {
            _ if auto_commit.value => AckMode::Time,
            "record" => AckMode::Record,
            "time" => AckMode::Time,
            "count" => AckMode::Count,
            "count_time" => AckMode::CountTime,
            _ => AckMode::Batch,
        };
        // A mode that was refused says nothing of what it would have read.
        if !mode.broken && !auto_commit.broken {
            let name = if auto_commit.value { "time" } else { mode.value };
            let unread = &mut remarks.unread;
            let ignored = |key: &str, modes: &str, origin: &Origin| {
                Problem::new(origin, format!("`{key}` is not read with `ack_mode = \"{name}\"`"))
                    .help(format!("it belongs to `ack_mode` = {modes}"))
            };
            let by_time = matches!(ack_mode, AckMode::Time | AckMode::CountTime) && !auto_commit.value;
            let by_count = matches!(ack_mode, AckMode::Count | AckMode::CountTime);
            unread.note_setting(&ack_time, by_time, || ignored("ack_time", "`time`, `count_time`", &ack_time.origin));
            unread.note_setting(&ack_count, by_count, || {
                ignored("ack_count", "`count`, `count_time`", &ack_count.origin)
            });
            if sync_commits.value {
                let by_record = ack_mode == AckMode::Record;
                unread.note_setting(&sync_commits, by_record, || {
                    ignored("sync_commits", "`record`", &sync_commits.origin)
                });
            }
            unread.note_setting(&auto_interval, auto_commit.value, || {
                Problem::new(
                    &auto_interval.origin,
                    "`auto_commit_interval` is not read without `enable_auto_commit = true`",
                )
                .help("the framework's own commits are paced by `commit_interval`")
            });
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
            commit_interval: commit_interval.value,
            max_commit_delay: max_commit_delay.value,
        }
    }
}

/// Membership and fetching: what librdkafka is told.
struct Group {
    auto_offset_reset: AutoOffsetReset,
    isolation_level: &'static str,
    assignors: Vec<&'static str>,
    session_timeout: Read<Duration>,
    heartbeat_interval: Read<Duration>,
    max_poll_interval: Read<Duration>,
    revoke_timeout: Read<Duration>,
    fetch_min_bytes: u64,
    fetch_max_wait: Duration,
    prefetch: u64,
}

impl Group {
    fn read(reader: &mut Reader<'_>, remarks: &mut Remarks) -> Self {
        let group = Self {
            auto_offset_reset: reader.offset_reset().value,
            isolation_level: reader.choice("isolation_level").value,
            assignors: reader.assignors().value,
            session_timeout: reader.duration("session_timeout"),
            heartbeat_interval: reader.duration("heartbeat_interval"),
            max_poll_interval: reader.duration("max_poll_interval"),
            revoke_timeout: reader.duration("revoke_timeout"),
            fetch_min_bytes: reader.size("fetch_min_bytes").value,
            fetch_max_wait: reader.duration("fetch_max_wait").value,
            prefetch: reader.size("prefetch").value,
        };
        group.check(reader.report, &mut remarks.warnings);
        group
    }

    fn check(&self, report: &mut Report, warnings: &mut Vec<String>) {
        let (session, heartbeat) = (&self.session_timeout, &self.heartbeat_interval);
        let (poll, revoke) = (&self.max_poll_interval, &self.revoke_timeout);
        if !session.broken && !heartbeat.broken {
            if heartbeat.value >= session.value {
                report.add(contradiction(
                    "heartbeat_interval",
                    heartbeat,
                    "be shorter than",
                    "session_timeout",
                    session,
                ));
            } else if heartbeat.value * 3 > session.value {
                warnings.push(format!(
                    "{}: `heartbeat_interval` of {} is more than a third of `session_timeout`, {}: one lost heartbeat \
                     may cost the membership",
                    heartbeat.origin,
                    spell(heartbeat.value),
                    spell(session.value),
                ));
            }
        }
        if !session.broken && !poll.broken && session.value > poll.value {
            report.add(contradiction("session_timeout", session, "not be longer than", "max_poll_interval", poll));
        }
        if !revoke.broken && !poll.broken && revoke.value * 2 > poll.value {
            report.add(
                contradiction("revoke_timeout", revoke, "be at most half of", "max_poll_interval", poll)
                    .help("the group waits for a member no longer than `max_poll_interval`"),
            );
        }
    }

    fn client_properties(
        &self,
        group_id: &str,
        reader: &mut Reader<'_>,
        cluster: &Cluster,
    ) -> Vec<(String, SecretString)> {
        let mut all: BTreeMap<String, String> = BUILT_IN.iter().map(|(name, value)| own(name, *value)).collect();
        all.extend(cluster.typed().clone());
        let reset = match self.auto_offset_reset {
            AutoOffsetReset::Earliest => "earliest",
            AutoOffsetReset::Latest => "latest",
            // The framework finds the offset itself, so librdkafka has to tell that there is none.
            AutoOffsetReset::Error | AutoOffsetReset::ByDuration(_) => "error",
        };
        all.extend([
            own("group.id", group_id),
            own("auto.offset.reset", reset),
            own("isolation.level", self.isolation_level),
            own("partition.assignment.strategy", self.assignors.join(",")),
            own("session.timeout.ms", self.session_timeout.value.as_millis().to_string()),
            own("heartbeat.interval.ms", self.heartbeat_interval.value.as_millis().to_string()),
            own("max.poll.interval.ms", self.max_poll_interval.value.as_millis().to_string()),
            own("fetch.min.bytes", self.fetch_min_bytes.to_string()),
            own("fetch.wait.max.ms", self.fetch_max_wait.as_millis().to_string()),
            own("queued.max.messages.kbytes", (self.prefetch / 1024).to_string()),
        ]);

        let mut raw = reader.properties();
        raw.retain(|property| properties::accept(property, reader.report));
        cluster.check_properties(&merged_raw(cluster, &raw), reader.report);
        let is_set = |name: &str| raw.iter().chain(&cluster.raw).any(|property| property.name == name);
        reader.described.extend(BUILT_IN.iter().filter(|(name, _)| !is_set(name)).map(|(name, value)| Described {
            key: format!("properties.{name}"),
            value: (*value).to_owned(),
            origin: Origin::Default,
        }));
        describe_raw(&raw, "properties.", &mut reader.described);
        all.extend(cluster.raw.iter().chain(&raw).map(|property| (property.name.clone(), property.value.clone())));
        all.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect()
    }
}

/// What librdkafka is told beside the keys; those that no key owns may be set in `properties`.
pub(crate) static BUILT_IN: &[(&str, &str)] = &[
    // The framework commits what is finished; librdkafka would commit what was merely fetched.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    // A flipped bit must not be handed to a listener as a record.
    ("check.crcs", "true"),
    ("queued.min.messages", "10000"),
    // A queue that was drained is refilled at once instead of after a second.
    ("fetch.queue.backoff.ms", "2"),
    // New partitions and topics are found in half a minute instead of five.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("statistics.interval.ms", "0"),
    // Brokers close idle connections; that is no news.
    ("log.connection.close", "false"),
];

fn own(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// The listener's raw properties over the cluster's.
fn merged_raw(cluster: &Cluster, raw: &[super::reader::RawProperty]) -> Vec<super::reader::RawProperty> {
    let overridden = |name: &str| raw.iter().any(|property| property.name == name);
    cluster.raw.iter().filter(|property| !overridden(&property.name)).chain(raw).cloned().collect()
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
