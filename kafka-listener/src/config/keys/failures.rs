//! The keys of a listener that say what becomes of records that fail: `retry`, `retry_topics`, the classes in
//! `on_failure`, `dead_letter`.

use super::{ACTIONS, KEY, Key, Kind};

const DAY: u64 = 86_400_000;

/// `retry`.
pub(crate) static RETRY: &[Key] = &[
    Key {
        name: "attempts",
        kind: Kind::Integer { min: 1, max: 4_294_967_295 },
        default_from: "for ever, and 1 with `retry_topics`; Spring's is 10",
        doc: "Deliveries in all, the first included; then `on_failure` decides. With `retry_topics`: in each topic.",
        spring: "FixedBackOff(maxAttempts)",
        ..KEY
    },
    Key {
        name: "delay",
        kind: Kind::Duration { min: 0, max: DAY },
        default: Some("200ms"),
        default_from: "short enough not to be noticed",
        doc: "Wait before the second delivery.",
        spring: "ExponentialBackOff(initialInterval)",
        ..KEY
    },
    Key {
        name: "multiplier",
        kind: Kind::Float { min: 1.0, max: 1000.0 },
        default: Some("2.0"),
        default_from: "doubling",
        doc: "What each further wait is multiplied by; 1 for a fixed one.",
        spring: "ExponentialBackOff(multiplier)",
        ..KEY
    },
    Key {
        name: "max_delay",
        kind: Kind::Duration { min: 0, max: DAY },
        default: Some("30s"),
        default_from: "Spring's",
        doc: "Longest wait.",
        spring: "ExponentialBackOff(maxInterval)",
        ..KEY
    },
    Key {
        name: "jitter",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Some("0.2"),
        default_from: "keeps many partitions from trying in step",
        doc: "Share of a wait that is drawn at random.",
        spring: "ExponentialBackOff(jitter)",
        ..KEY
    },
    Key {
        name: "max_elapsed",
        kind: Kind::Duration { min: 0, max: 365 * DAY },
        default_from: "no limit of time",
        doc: "A delivery that would begin later than this after the first one failed is not made: `on_failure` \
              decides. Counted afresh with each assignment.",
        spring: "ExponentialBackOff(maxElapsedTime)",
        ..KEY
    },
];

/// `retry_topics`.
pub(crate) static RETRY_TOPICS: &[Key] = &[
    Key {
        name: "delays",
        kind: Kind::Durations { min: 1, max: 365 * DAY },
        default: Some(""),
        default_from: "records are tried again in their place only",
        doc: "How long a record waits before each further delivery. Delays that are equal at the end share one topic.",
        spring: "@RetryableTopic(backOff)",
        attribute: true,
        ..KEY
    },
    Key {
        name: "topic",
        kind: Kind::Text,
        default: Some("{topic}-retry"),
        default_from: "Spring's",
        doc: "What the retry topics are called before their suffix; `{topic}` stands for the listener's own topic. They \
              have to exist.",
        spring: "@RetryableTopic(retryTopicSuffix)",
        attribute: true,
        ..KEY
    },
    Key {
        name: "suffix",
        kind: Kind::Choice(&["delay", "index"]),
        default: Some("delay"),
        default_from: "Spring's",
        doc: "What tells the retry topics apart: the delay in milliseconds, or a number from 0. A single one has no \
              suffix.",
        spring: "@RetryableTopic(topicSuffixingStrategy)",
        attribute: true,
        ..KEY
    },
];

/// `dead_letter`.
pub(crate) static DEAD_LETTER: &[Key] = &[
    Key {
        name: "topic",
        kind: Kind::Text,
        default: Some("{topic}-dlt"),
        default_from: "Spring's",
        doc: "The topic of the dead letters; `{topic}` stands for the one that the record was read from. It has to \
              exist.",
        spring: "destinationResolver",
        ..KEY
    },
    Key {
        name: "headers",
        kind: Kind::Choice(&["spring", "plain"]),
        default: Some("spring"),
        default_from: "existing tools read them",
        doc: "How the origin and the error are written: `kafka_dlt-…` in Spring's binary encodings, or `dlt-…` as text.",
        ..KEY
    },
];

/// One class in `on_failure`.
pub(crate) static CLASS: &[Key] = &[
    Key {
        name: "on_failure",
        kind: Kind::Choice(ACTIONS),
        default_from: "`on_failure.default`",
        doc: "What becomes of a record of this class that will not be tried again.",
        ..KEY
    },
    Key {
        name: "attempts",
        kind: Kind::Integer { min: 1, max: 4_294_967_295 },
        default_from: "`retry.attempts`",
        doc: "Deliveries in all after which an error of this class ends the retries; failures of other classes count.",
        ..KEY
    },
    Key {
        name: "delay",
        kind: Kind::Duration { min: 0, max: DAY },
        default_from: "`retry.delay`",
        doc: "Wait before the second delivery.",
        ..KEY
    },
    Key {
        name: "multiplier",
        kind: Kind::Float { min: 1.0, max: 1000.0 },
        default_from: "`retry.multiplier`",
        doc: "What each further wait is multiplied by; 1 for a fixed one.",
        ..KEY
    },
    Key {
        name: "max_delay",
        kind: Kind::Duration { min: 0, max: DAY },
        default_from: "`retry.max_delay`",
        doc: "Longest wait.",
        ..KEY
    },
    Key {
        name: "jitter",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default_from: "`retry.jitter`",
        doc: "Share of a wait that is drawn at random.",
        ..KEY
    },
    Key {
        name: "max_elapsed",
        kind: Kind::Duration { min: 0, max: 365 * DAY },
        default_from: "`retry.max_elapsed`",
        doc: "As `retry.max_elapsed`, for errors of this class.",
        ..KEY
    },
];
