//! The keys of a listener.

pub(crate) use super::failures::{CLASS, DEAD_LETTER, RETRY, RETRY_TOPICS};
use super::group::{
    GROUP_INSTANCE_ID, GROUP_PROTOCOL, GROUP_REMOTE_ASSIGNOR, LEAVE_ON_STOP, ON_FATAL, ON_STUCK,
    PARTITION_ASSIGNMENT_STRATEGY,
};
pub(crate) use super::limits::LIMITS;
use super::reading::{COMMIT, INITIAL_OFFSET, PARTITIONS, START_AFTER, TOPIC_PATTERN, UNTIL, UNTIL_TIMEOUT};
use super::{KEY, Key, Kind};

const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;

/// Values of `ack_mode`.
pub(crate) static ACK_MODES: &[&str] =
    &["batch", "record", "time", "count", "count_time", "manual", "manual_immediate", "at_most_once"];

/// `[listener]`, `[container_factories.NAME]` and `[listeners.ID]`.
pub(crate) static LISTENER: &[Key] = &[
    Key {
        name: "topics",
        kind: Kind::Texts,
        default: Some(""),
        default_from: "a listener without a topic is refused",
        doc: "Topics to read; `topic` is the same for one.",
        spring: "@KafkaListener(topics)",
        attribute: true,
        ..KEY
    },
    Key {
        name: "topic",
        kind: Kind::Texts,
        doc: "The one topic to read: `topics` with one name.",
        spring: "@KafkaListener(topics)",
        attribute: true,
        ..KEY
    },
    TOPIC_PATTERN,
    PARTITIONS,
    INITIAL_OFFSET,
    UNTIL,
    UNTIL_TIMEOUT,
    START_AFTER,
    COMMIT,
    Key {
        name: "group_id",
        kind: Kind::Text,
        doc: "The consumer group. Two listeners of one group on one topic would each get a share of it, so they need \
              `shared_group`.",
        librdkafka: "group.id",
        spring: "consumer.group-id",
        attribute: true,
        ..KEY
    },
    Key {
        name: "shared_group",
        kind: Kind::Boolean,
        default: Some("false"),
        default_from: "usually a mistake",
        doc: "Allows other listeners of this process with the same group and topic, where all of them say so.",
        ..KEY
    },
    Key {
        name: "client_id",
        kind: Kind::Text,
        default_from: "`kafka.client_id` with the listener's id",
        doc: "The whole client id of this listener's consumers; with several, a number is added.",
        spring: "@KafkaListener(clientIdPrefix)",
        attribute: true,
        ..KEY
    },
    Key {
        name: "profiles",
        kind: Kind::Texts,
        default: Some(""),
        default_from: "active in all of them",
        doc: "The listener runs only where one of these profiles is active; `!name` where it is not.",
        spring: "@Profile",
        attribute: true,
        ..KEY
    },
    Key {
        name: "container_factory",
        kind: Kind::Text,
        doc: "Name of the block in `[container_factories]` to take settings from.",
        spring: "@KafkaListener(containerFactory)",
        attribute: true,
        ..KEY
    },
    Key {
        name: "auto_startup",
        kind: Kind::Boolean,
        default: Some("true"),
        default_from: "Spring's",
        doc: "Starts the container with the registry; otherwise `start()` of its handle does.",
        spring: "listener.auto-startup",
        attribute: true,
        ..KEY
    },
    Key {
        name: "missing_topics",
        kind: Kind::Choice(&["wait", "fail"]),
        default: Some("wait"),
        default_from: "Spring's `missing-topics-fatal = false`",
        doc: "What becomes of the start where a topic does not exist.",
        spring: "listener.missing-topics-fatal",
        ..KEY
    },
    Key {
        name: "concurrency",
        kind: Kind::Integer { min: 1, max: 100_000 },
        default_from: "one slot per assigned partition; Spring's is 1",
        doc: "Handlers of this listener that may run at once in this process.",
        spring: "listener.concurrency",
        attribute: true,
        ..KEY
    },
    Key {
        name: "consumers",
        kind: Kind::Integer { min: 1, max: 1_000 },
        default: Some("1"),
        default_from: "one client serves all partitions",
        doc: "Members that this container adds to the group; for throughput beyond one client only.",
        spring: "listener.concurrency",
        attribute: true,
        ..KEY
    },
    Key {
        name: "ack_mode",
        kind: Kind::Choice(ACK_MODES),
        default: Some("batch"),
        default_from: "Spring's",
        doc: "When finished records are committed. `manual` and `manual_immediate` belong to listeners that take an \
              `Acknowledgment`; `at_most_once` commits a record before it is handled, and drops it if it fails.",
        spring: "listener.ack-mode",
        attribute: true,
        ..KEY
    },
    Key {
        name: "sync_commits",
        kind: Kind::Boolean,
        default: Some("false"),
        default_from: "Spring's is true; waiting for every commit costs a round trip per record",
        doc: "With `ack_mode = \"record\"`: the next record starts after the broker's answer.",
        spring: "syncCommits",
        ..KEY
    },
    Key {
        name: "ack_time",
        kind: Kind::Duration { min: 1, max: HOUR },
        default: Some("5s"),
        default_from: "Spring's",
        doc: "Interval of `ack_mode = \"time\"` and `\"count_time\"`.",
        spring: "listener.ack-time",
        ..KEY
    },
    Key {
        name: "ack_count",
        kind: Kind::Integer { min: 1, max: 4_294_967_295 },
        default: Some("1"),
        default_from: "Spring's",
        doc: "Records between commits of `ack_mode = \"count\"` and `\"count_time\"`.",
        spring: "listener.ack-count",
        ..KEY
    },
    Key {
        name: "async_acks",
        kind: Kind::Boolean,
        default: Some("false"),
        default_from: "Spring's; the order of a partition is given up by name only",
        doc: "With `ack_mode = \"manual\"` or `\"manual_immediate\"`: records start before those ahead of them are \
              acknowledged, as many as `limits` allow. The committed offset stays at the oldest that is not.",
        spring: "listener.async-acks",
        attribute: true,
        ..KEY
    },
    Key {
        name: "ack_drain",
        kind: Kind::Duration { min: 1, max: HOUR },
        default_from: "acknowledgements that are out are not waited for",
        doc: "With `ack_mode = \"manual\"` or `\"manual_immediate\"`: how long a revocation or a stop waits for \
              acknowledgements that are out, within its own budget.",
        ..KEY
    },
    Key {
        name: "commit_interval",
        kind: Kind::Duration { min: 0, max: HOUR },
        default: Some("100ms"),
        default_from: "what a crash repeats at most, against ten commits per second and partition",
        doc: "Least time between two commits of `ack_mode = \"batch\"` and `\"manual\"`.",
        ..KEY
    },
    Key {
        name: "max_commit_delay",
        kind: Kind::Duration { min: 100, max: HOUR },
        default: Some("10s"),
        default_from: "bounds what a crash repeats while commits do not get through",
        doc: "A partition whose commit has been asked for this long ago without success is fed no more records.",
        ..KEY
    },
    Key {
        name: "enable_auto_commit",
        kind: Kind::Boolean,
        default: Some("false"),
        default_from: "Kafka's is true; the framework commits what is finished",
        doc: "The same as `ack_mode = \"time\"` with `ack_time` = `auto_commit_interval`, over finished records.",
        librdkafka: "enable.auto.commit auto.commit.enable enable.auto.offset.store",
        spring: "consumer.enable-auto-commit",
        ..KEY
    },
    Key {
        name: "auto_commit_interval",
        kind: Kind::Duration { min: 1, max: HOUR },
        default: Some("5s"),
        default_from: "Kafka's",
        doc: "Interval of `enable_auto_commit`.",
        librdkafka: "auto.commit.interval.ms",
        spring: "consumer.auto-commit-interval",
        ..KEY
    },
    Key {
        name: "auto_offset_reset",
        kind: Kind::OffsetReset,
        default: Some("earliest"),
        default_from: "Kafka's is latest, which skips what is there when a group is new",
        doc: "Where to start when the group has committed nothing: `earliest`, `latest`, `error`, or \
              `by_duration:1h` for that long ago.",
        librdkafka: "auto.offset.reset",
        spring: "consumer.auto-offset-reset",
        ..KEY
    },
    Key {
        name: "isolation_level",
        kind: Kind::Choice(&["read_committed", "read_uncommitted"]),
        default: Some("read_committed"),
        default_from: "librdkafka's; Java's and Spring's is read_uncommitted",
        doc: "Whether records of open and aborted transactions are left out.",
        librdkafka: "isolation.level",
        spring: "consumer.isolation-level",
        ..KEY
    },
    GROUP_PROTOCOL,
    GROUP_REMOTE_ASSIGNOR,
    GROUP_INSTANCE_ID,
    LEAVE_ON_STOP,
    PARTITION_ASSIGNMENT_STRATEGY,
    Key {
        name: "session_timeout",
        kind: Kind::Duration { min: 1, max: HOUR },
        default: Some("45s"),
        default_from: "Kafka's",
        doc: "Without heartbeats for this long, the group takes a member for dead.",
        librdkafka: "session.timeout.ms",
        spring: "properties[session.timeout.ms]",
        ..KEY
    },
    Key {
        name: "heartbeat_interval",
        kind: Kind::Duration { min: 1, max: HOUR },
        default: Some("1s"),
        default_from: "Kafka's is 3 s; members learn of a rebalance by it",
        doc: "Time between heartbeats; at most a third of `session_timeout` is wise.",
        librdkafka: "heartbeat.interval.ms",
        spring: "consumer.heartbeat-interval",
        ..KEY
    },
    Key {
        name: "max_poll_interval",
        kind: Kind::Duration { min: 1, max: DAY },
        default: Some("5m"),
        default_from: "Kafka's",
        doc: "A handler that runs longer counts as stuck; members wait at most this long for each other in a \
              rebalance. Long handlers cost no membership.",
        librdkafka: "max.poll.interval.ms",
        spring: "consumer.max-poll-interval",
        ..KEY
    },
    Key {
        name: "max_poll_records",
        kind: Kind::Integer { min: 1, max: 1_000_000 },
        default: Some("500"),
        default_from: "Kafka's",
        doc: "Most records handed over to a partition's worker at once.",
        spring: "consumer.max-poll-records",
        ..KEY
    },
    Key {
        name: "fetch_min_bytes",
        kind: Kind::Size { min: 1, max: 100_000_000 },
        default: Some("1"),
        default_from: "Kafka's",
        doc: "The broker answers a fetch when it has this much.",
        librdkafka: "fetch.min.bytes",
        spring: "consumer.fetch-min-size",
        ..KEY
    },
    Key {
        name: "fetch_max_wait",
        kind: Kind::Duration { min: 0, max: 300_000 },
        default: Some("100ms"),
        default_from: "Kafka's is 500 ms; shorter makes joins, resumes and seeks quicker",
        doc: "The broker answers a fetch after this long whatever it has.",
        librdkafka: "fetch.wait.max.ms",
        spring: "consumer.fetch-max-wait",
        ..KEY
    },
    Key {
        name: "prefetch",
        kind: Kind::Size { min: 1_024, max: 2_097_151 * 1_024 },
        default: Some("8MiB"),
        default_from: "librdkafka's is 64 MiB",
        doc: "Records fetched ahead per assigned partition, rounded down to KiB.",
        librdkafka: "queued.max.messages.kbytes",
        ..KEY
    },
    Key {
        name: "codec",
        kind: Kind::Choice(&["json", "string", "bytes"]),
        default: Some("json"),
        default_from: "what most producers send",
        doc: "How payloads are decoded; the attribute may also name a type that implements `Decode`.",
        spring: "consumer.value-deserializer",
        attribute: true,
        ..KEY
    },
    Key {
        name: "send_to",
        kind: Kind::Text,
        default_from: "what a listener returns is not sent",
        doc: "The topic that the listener's return value is sent to; its record is done when the broker has it. `{topic}` \
              stands for the topic that the record was read from; `{reply_topic}`, alone, for the one that the record's \
              header `kafka_replyTopic` names. It has to exist. For listeners whose attribute says `send_to`, or that \
              return a `Reply`.",
        spring: "@SendTo",
        attribute: true,
        ..KEY
    },
    Key {
        name: "retry",
        kind: Kind::Table(RETRY),
        doc: "How often and how fast a record that failed is tried again, in its place.",
        spring: "DefaultErrorHandler",
        ..KEY
    },
    Key {
        name: "retry_topics",
        kind: Kind::Table(RETRY_TOPICS),
        doc: "Topics in which a record that failed waits for its next delivery, so that its partition goes on without it: \
              its order is given up.",
        spring: "@RetryableTopic",
        attribute: true,
        ..KEY
    },
    Key {
        name: "on_failure",
        kind: Kind::OnFailure,
        default: Some("hold"),
        default_from: "nothing is lost without somebody having said so",
        doc: "What becomes of a record that will not be tried again: `hold`, `dead_letter`, `skip` or `stop`, or a table \
              by class of error (`decode`, `too_large`, `validation`, `timeout`, `panic`, `terminal`, `retryable`, names given by \
              `Classify`, `default`) with an action or a table for each.",
        spring: "DefaultErrorHandler",
        ..KEY
    },
    Key {
        name: "handler_timeout",
        kind: Kind::Duration { min: 1, max: DAY },
        default_from: "handlers take the time they need, as with Spring",
        doc: "A handler that takes longer is cancelled where it awaits: a failed delivery of class `timeout`. Code that \
              blocks its thread cannot be cancelled; it is reported and waited for.",
        ..KEY
    },
    Key {
        name: "dead_letter",
        kind: Kind::Table(DEAD_LETTER),
        doc: "Where dead letters go and what is written on them.",
        spring: "DeadLetterPublishingRecoverer",
        ..KEY
    },
    Key {
        name: "on_corrupt",
        kind: Kind::Choice(&["hold", "skip"]),
        default: Some("hold"),
        default_from: "nothing is lost without somebody having said so",
        doc: "What becomes of a batch of records that fails its checksum.",
        ..KEY
    },
    ON_FATAL,
    ON_STUCK,
    Key {
        name: "revoke_timeout",
        kind: Kind::Duration { min: 10, max: HOUR },
        default: Some("5s"),
        default_from: "long enough for most handlers, short for the group that waits",
        doc: "Budget for everything that a revocation waits for: running handlers, hooks, the last commit.",
        ..KEY
    },
    Key {
        name: "shutdown_timeout",
        kind: Kind::Duration { min: 10, max: DAY },
        default: Some("30s"),
        default_from: "Kubernetes' grace period; Spring's is 10 s",
        doc: "Budget for stopping: running handlers, the last commit, leaving the group.",
        spring: "shutdownTimeout",
        ..KEY
    },
    Key { name: "limits", kind: Kind::Table(LIMITS), doc: "Bounds per assigned partition.", ..KEY },
    Key {
        name: "properties",
        kind: Kind::Properties,
        doc: "librdkafka's own names and values for this listener's consumers, over those of `[kafka]`; in the \
              attribute a list of `\"name=value\"`.",
        spring: "consumer.properties",
        attribute: true,
        ..KEY
    },
];
