//! Keys of membership: how a listener is in its group, and what happens when it cannot go on.

use super::{KEY, Key, Kind};

pub(super) const GROUP_PROTOCOL: Key = Key {
    name: "group_protocol",
    kind: Kind::Choice(&["classic", "consumer"]),
    default: Some("classic"),
    default_from: "Kafka's; `consumer` is experimental with this librdkafka",
    doc: "How the group is run: `classic`, by its members, or `consumer` (KIP-848), by the broker, which then owns \
          `session_timeout`, `heartbeat_interval` and `partition_assignment_strategy`.",
    librdkafka: "group.protocol",
    spring: "properties[group.protocol]",
    ..KEY
};

pub(super) const GROUP_REMOTE_ASSIGNOR: Key = Key {
    name: "group_remote_assignor",
    kind: Kind::Text,
    default_from: "the broker's first one, `uniform`",
    doc: "With `group_protocol = \"consumer\"`: the broker's assignor, `uniform`, `range` or one of its own.",
    librdkafka: "group.remote.assignor",
    spring: "properties[group.remote.assignor]",
    ..KEY
};

pub(super) const GROUP_INSTANCE_ID: Key = Key {
    name: "group_instance_id",
    kind: Kind::Text,
    default_from: "members are dynamic",
    doc: "Makes the consumers static members: `-0`, `-1` … is added for each. A restart within `session_timeout` then \
          moves no partition. As `\"${HOSTNAME}\"`, different in each process and the same after a restart.",
    librdkafka: "group.instance.id",
    spring: "properties[group.instance.id]",
    ..KEY
};

pub(super) const LEAVE_ON_STOP: Key = Key {
    name: "leave_on_stop",
    kind: Kind::Boolean,
    default: Some("false"),
    default_from: "Kafka's: a stop keeps the seat of a static member",
    doc: "With `group_instance_id`: a stop gives the seat up, and the partitions go to the others at once.",
    ..KEY
};

pub(super) const PARTITION_ASSIGNMENT_STRATEGY: Key = Key {
    name: "partition_assignment_strategy",
    kind: Kind::Assignors,
    default: Some("cooperative-sticky"),
    default_from: "librdkafka's is range,roundrobin; cooperative stops only what moves",
    doc: "How partitions are dealt out: `cooperative-sticky`, `range`, `roundrobin`, or `range` and `roundrobin` \
          as a list in order of preference. Java's class names are understood.",
    librdkafka: "partition.assignment.strategy",
    spring: "properties[partition.assignment.strategy]",
    ..KEY
};

pub(super) const ON_FATAL: Key = Key {
    name: "on_fatal",
    kind: Kind::Choice(&["stop", "restart", "exit"]),
    default: Some("stop"),
    default_from: "one listener is not to harm another",
    doc: "What a listener that cannot go on does: `stop`, it fails and the others go on; `restart`, it gets a new client \
          after a pause; `exit`, `run()` stops all listeners and returns the error. A static member that another one \
          has fenced off is never restarted.",
    spring: "CommonContainerStoppingErrorHandler",
    ..KEY
};

pub(super) const ON_STUCK: Key = Key {
    name: "on_stuck",
    kind: Kind::Choice(&["report", "leave"]),
    default: Some("report"),
    default_from: "a handler that is slow costs no membership",
    doc: "What a listener does with a handler that has been running for longer than `max_poll_interval`: `report` it in \
          log and health, or `leave` the group as well, so that another member takes over, until its code has ended. \
          Records that are retried, held, paused or waiting are never stuck.",
    ..KEY
};
