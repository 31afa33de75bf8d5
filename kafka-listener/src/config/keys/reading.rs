//! Keys of what is read: topics by pattern, partitions without a group, where they start and where they end.

use super::{KEY, Key, Kind};

const DAY: u64 = 86_400_000;

pub(super) const TOPIC_PATTERN: Key = Key {
    name: "topic_pattern",
    kind: Kind::Text,
    doc: "Reads every topic whose name matches this regular expression, which begins with `^`, in place of `topics`. \
          Topics that appear later are taken up within `topic.metadata.refresh.interval.ms`.",
    spring: "@KafkaListener(topicPattern)",
    attribute: true,
    ..KEY
};

pub(super) const PARTITIONS: Key = Key {
    name: "partitions",
    kind: Kind::Partitions,
    default_from: "the group deals them out",
    doc: "Reads these partitions by itself, as a member of no group: `\"0-5,7\"` or `\"*\"` of each of the `topics`, or a table \
          of such texts by topic, as `{ orders = \"0-5,7\" }`. `7@100` begins at an `initial_offset` of its own.",
    spring: "@KafkaListener(topicPartitions)",
    attribute: true,
    ..KEY
};

pub(super) const INITIAL_OFFSET: Key = Key {
    name: "initial_offset",
    kind: Kind::InitialOffset,
    default_from: "`committed` with `commit = true`, else `beginning`",
    doc: "With `partitions`: where they begin. `beginning`, `end`, `committed`, each also with `+10` or `-10` records; an \
          offset; `timestamp:2026-01-31T12:00:00Z` or in milliseconds; `by_duration:1h` for that long ago.",
    spring: "@PartitionOffset(initialOffset)",
    attribute: true,
    ..KEY
};

pub(super) const COMMIT: Key = Key {
    name: "commit",
    kind: Kind::Boolean,
    default: Some("false"),
    default_from: "every start reads from `initial_offset`",
    doc: "With `partitions`: commits what is finished under `group_id`, a group that has no members.",
    attribute: true,
    ..KEY
};

pub(super) const UNTIL: Key = Key {
    name: "until",
    kind: Kind::Choice(&["end"]),
    default_from: "reads on for ever",
    doc: "With `partitions`: `end` reads what is there when the listener starts, and then the listener completes.",
    attribute: true,
    ..KEY
};

pub(super) const UNTIL_TIMEOUT: Key = Key {
    name: "until_timeout",
    kind: Kind::Duration { min: 1, max: DAY },
    default_from: "it takes the time it needs",
    doc: "With `until`: a listener that has not completed this long after its start fails and says what is missing.",
    attribute: true,
    ..KEY
};

pub(super) const START_AFTER: Key = Key {
    name: "start_after",
    kind: Kind::Texts,
    default: Some(""),
    default_from: "nothing is waited for",
    doc: "Ids of listeners with `until`: this one starts when all of them have completed.",
    attribute: true,
    ..KEY
};
