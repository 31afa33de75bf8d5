//! Membership and fetching: how a listener is in its group, and all that librdkafka is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use super::cluster::{Cluster, describe_raw};
use super::listener::{Remarks, Unread, contradiction};
use super::parse::spell;
use super::properties;
use super::reader::{Described, RawProperty, Read, Reader};
use super::report::{Problem, Report, shown};
use super::settings::{AutoOffsetReset, GroupProtocol, OnFatal, OnStuck};
use super::value::Origin;

/// Membership and fetching.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) protocol: GroupProtocol,
    remote_assignor: Option<String>,
    pub(super) instance_id: Option<String>,
    pub(super) leave_on_stop: bool,
    pub(super) on_fatal: OnFatal,
    pub(super) on_stuck: OnStuck,
    pub(super) auto_offset_reset: AutoOffsetReset,
    isolation_level: &'static str,
    assignors: Vec<&'static str>,
    pub(super) session_timeout: Read<Duration>,
    heartbeat_interval: Read<Duration>,
    pub(super) max_poll_interval: Read<Duration>,
    pub(super) revoke_timeout: Read<Duration>,
    fetch_min_bytes: u64,
    fetch_max_wait: Duration,
    prefetch: u64,
}

/// The broker's, where it decides and does not tell.
const BROKER_SESSION_TIMEOUT: Duration = Duration::from_secs(45);

impl Group {
    /// `is_member`: a listener that is in no group leaves the settings of groups unread, which its caller notes.
    pub(super) fn read(reader: &mut Reader<'_>, is_member: bool, remarks: &mut Remarks) -> Self {
        let protocol = reader.choice("group_protocol");
        let remote_assignor = reader.optional_text("group_remote_assignor");
        let instance_id = reader.optional_text("group_instance_id");
        let leave_on_stop = reader.boolean("leave_on_stop");
        let on_fatal = match reader.choice("on_fatal").value {
            "restart" => OnFatal::Restart,
            "exit" => OnFatal::Exit,
            _ => OnFatal::Stop,
        };
        let assignors = reader.assignors();
        let session_timeout = reader.duration("session_timeout");
        let heartbeat_interval = reader.duration("heartbeat_interval");

        let is_classic = protocol.value == "classic" || !is_member;
        if !protocol.broken && is_member {
            note_whose_settings(
                &protocol,
                &session_timeout,
                &heartbeat_interval,
                &assignors,
                &remote_assignor,
                &mut remarks.unread,
            );
        }
        if is_member {
            check_leave_on_stop(&leave_on_stop, &instance_id, is_classic, (reader.report, &mut remarks.unread));
        }
        if let Some(id) = instance_id.value.as_ref().filter(|_| is_member) {
            remarks.notes.push(format!("static member `{}-0`", shown(id)));
        }
        if !is_classic {
            remarks.notes.push("group_protocol = consumer, experimental with librdkafka 2.12".to_owned());
        }

        let group = Self {
            protocol: if is_classic { GroupProtocol::Classic } else { GroupProtocol::Consumer },
            remote_assignor: remote_assignor.value,
            instance_id: instance_id.value.filter(|_| is_member),
            leave_on_stop: leave_on_stop.value && is_member,
            on_fatal,
            on_stuck: if reader.choice("on_stuck").value == "leave" && is_member {
                OnStuck::Leave
            } else {
                OnStuck::Report
            },
            auto_offset_reset: reader.offset_reset().value,
            isolation_level: reader.choice("isolation_level").value,
            assignors: assignors.value,
            session_timeout: if is_classic {
                session_timeout
            } else {
                Read { value: BROKER_SESSION_TIMEOUT, ..session_timeout }
            },
            heartbeat_interval,
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
        let is_classic = self.protocol == GroupProtocol::Classic;
        if is_classic && !session.broken && !heartbeat.broken {
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
        if is_classic && !session.broken && !poll.broken && session.value > poll.value {
            report.add(contradiction("session_timeout", session, "not be longer than", "max_poll_interval", poll));
        }
        if !revoke.broken && !poll.broken && revoke.value * 2 > poll.value {
            report.add(
                contradiction("revoke_timeout", revoke, "be at most half of", "max_poll_interval", poll)
                    .help("the group waits for a member no longer than `max_poll_interval`"),
            );
        }
    }

    pub(super) fn client_properties(
        &self,
        group_id: &str,
        reader: &mut Reader<'_>,
        cluster: &Cluster,
    ) -> Vec<(String, SecretString)> {
        let mut all: BTreeMap<String, String> = BUILT_IN.iter().map(|(name, value)| own(name, *value)).collect();
        all.extend(cluster.typed().clone());
        all.extend([
            own("group.id", group_id),
            // What becomes of an offset that is not there is decided here, so librdkafka has to tell of it: its own reset
            // takes the place of a later seek, and behind a damaged batch it asks for offsets that nobody meant.
            own("auto.offset.reset", "error"),
            own("isolation.level", self.isolation_level),
            own("max.poll.interval.ms", self.max_poll_interval.value.as_millis().to_string()),
            own("fetch.min.bytes", self.fetch_min_bytes.to_string()),
            own("fetch.wait.max.ms", self.fetch_max_wait.as_millis().to_string()),
            own("queued.max.messages.kbytes", (self.prefetch / 1024).to_string()),
        ]);

        match self.protocol {
            GroupProtocol::Classic => all.extend([
                own("partition.assignment.strategy", self.assignors.join(",")),
                own("session.timeout.ms", self.session_timeout.value.as_millis().to_string()),
                own("heartbeat.interval.ms", self.heartbeat_interval.value.as_millis().to_string()),
            ]),
            // librdkafka refuses to be told what the broker decides.
            GroupProtocol::Consumer => {
                all.extend([own("group.protocol", "consumer")]);
                all.extend(self.remote_assignor.iter().map(|assignor| own("group.remote.assignor", assignor.as_str())));
            }
        }

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

/// Who runs the group says who reads what.
fn note_whose_settings(
    protocol: &Read<&'static str>,
    session_timeout: &Read<Duration>,
    heartbeat_interval: &Read<Duration>,
    assignors: &Read<Vec<&'static str>>,
    remote_assignor: &Read<Option<String>>,
    unread: &mut Unread,
) {
    let is_classic = protocol.value == "classic";
    let brokers = |key: &str, origin: &Origin, instead: &str| {
        Problem::new(origin, format!("`{key}` is not read with `group_protocol = \"consumer\"`"))
            .help(instead.to_owned())
            .help(format!("`group_protocol` is set at {}", protocol.origin))
    };
    unread.note_setting(session_timeout, is_classic, || {
        brokers(
            "session_timeout",
            &session_timeout.origin,
            "the broker decides: `group.consumer.session.timeout.ms`, or the group's own `consumer.session.timeout.ms`",
        )
    });
    unread.note_setting(heartbeat_interval, is_classic, || {
        brokers("heartbeat_interval", &heartbeat_interval.origin, "the broker decides: `group.consumer.heartbeat.interval.ms`, or the group's own `consumer.heartbeat.interval.ms`")
    });
    unread.note_setting(assignors, is_classic, || {
        brokers(
            "partition_assignment_strategy",
            &assignors.origin,
            "the broker deals out: `group_remote_assignor` names how, `uniform` or `range`",
        )
    });
    unread.note_setting(remote_assignor, !is_classic, || {
        Problem::new(&remote_assignor.origin, "`group_remote_assignor` is not read with `group_protocol = \"classic\"`")
            .help("there the members deal out: `partition_assignment_strategy`")
    });
}

/// Only a static member has a seat, and only the classic protocol lets it be given up.
fn check_leave_on_stop(
    leave_on_stop: &Read<bool>,
    instance_id: &Read<Option<String>>,
    is_classic: bool,
    (report, unread): (&mut Report, &mut Unread),
) {
    if leave_on_stop.value && !leave_on_stop.broken {
        let is_static = instance_id.value.is_some() || instance_id.broken;
        unread.note_setting(leave_on_stop, is_static, || {
            Problem::new(&leave_on_stop.origin, "`leave_on_stop` is not read without `group_instance_id`")
                .help("a member that is not static always leaves its group when it is stopped")
        });
        if is_static && !is_classic {
            report.add(
                Problem::new(&leave_on_stop.origin, "`leave_on_stop` does not go with `group_protocol = \"consumer\"`")
                    .help("librdkafka 2.12 has no way to give the seat up there: it stays free for the member's return until the session times out"),
            );
        }
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
fn merged_raw(cluster: &Cluster, raw: &[RawProperty]) -> Vec<RawProperty> {
    let overridden = |name: &str| raw.iter().any(|property| property.name == name);
    cluster.raw.iter().filter(|property| !overridden(&property.name)).chain(raw).cloned().collect()
}
