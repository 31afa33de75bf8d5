//! What the rest of the library reads: one plain struct per listener, every field resolved and validated.
//!
//! Nothing here knows where a value came from; [`super::Origin`]s travel beside it for logs and errors.

use std::time::Duration;

pub(crate) use super::partitions::{InitialOffset, PartitionSelection, Place};
use crate::dead_letter::HeaderStyle;
use crate::failure::ErrorClass;
use crate::reply::SendTo;
use crate::retry_topics::Suffix;

/// Everything one listener container runs with.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one per key, as the user writes them")]
pub(crate) struct ListenerSettings {
    pub(crate) id: String,
    /// Empty where a pattern names them.
    pub(crate) topics: Vec<String>,
    /// A regular expression that begins with `^`.
    pub(crate) topic_pattern: Option<String>,
    /// `None`: a member of its group.
    pub(crate) standalone: Option<Standalone>,
    /// Empty for a listener without a group.
    pub(crate) group_id: String,
    /// `kafka.client_id` with the listener's id; consumers append `-n`.
    pub(crate) client_id: String,
    pub(crate) auto_startup: bool,
    pub(crate) shared_group: bool,
    pub(crate) missing_topics: MissingTopics,
    /// `None`: one slot per assigned partition.
    pub(crate) concurrency: Option<usize>,
    pub(crate) consumers: usize,

    pub(crate) ack_mode: AckMode,
    pub(crate) sync_commits: bool,
    pub(crate) ack_time: Duration,
    pub(crate) ack_count: u32,
    pub(crate) async_acks: bool,
    /// `None`: acknowledgements that are out are not waited for.
    pub(crate) ack_drain: Option<Duration>,
    pub(crate) commit_interval: Duration,
    pub(crate) max_commit_delay: Duration,

    pub(crate) auto_offset_reset: AutoOffsetReset,
    pub(crate) group_protocol: GroupProtocol,
    /// Of a static member; consumers append `-n`.
    pub(crate) group_instance_id: Option<String>,
    /// A static member gives its seat up when it is stopped.
    pub(crate) leave_on_stop: bool,
    pub(crate) on_fatal: OnFatal,
    pub(crate) on_stuck: OnStuck,
    pub(crate) session_timeout: Duration,
    pub(crate) max_poll_interval: Duration,
    pub(crate) max_poll_records: usize,

    pub(crate) codec: Codec,
    pub(crate) failures: FailurePolicies,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) on_corrupt: OnCorrupt,
    pub(crate) dead_letter: DeadLetterSettings,
    /// `None`: what the listener returns is not sent.
    pub(crate) send_to: Option<SendTo>,
    /// `None`: records are tried again in their place only.
    pub(crate) retry_topics: Option<RetryTopicSettings>,
    /// These are the settings of the consumer that reads the retry topics.
    pub(crate) reads_retry_topics: bool,

    pub(crate) revoke_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) limits: Limits,

    /// The whole librdkafka configuration of this listener's consumers, names and values as librdkafka spells them;
    /// `client.id` is set per consumer by the engine.
    pub(crate) client_properties: Vec<(String, secrecy::SecretString)>,
}

impl ListenerSettings {
    /// How the cluster is found: its name for as long as it has not told its own.
    pub(crate) fn bootstrap_servers(&self) -> std::sync::Arc<str> {
        use secrecy::ExposeSecret as _;
        let named = self.client_properties.iter().find(|(name, _)| name == "bootstrap.servers");
        named.map_or("", |(_, value)| value.expose_secret()).into()
    }

    /// Whether records of transactions that are open or aborted are left out. What librdkafka does unless told otherwise.
    pub(crate) fn reads_committed(&self) -> bool {
        use secrecy::ExposeSecret as _;
        let isolation = self.client_properties.iter().find(|(name, _)| name == "isolation.level");
        isolation.is_none_or(|(_, value)| value.expose_secret() != "read_uncommitted")
    }

    /// What a member of the group subscribes to.
    pub(crate) fn subscription(&self) -> impl Iterator<Item = &str> {
        self.topic_pattern.iter().chain(&self.topics).map(String::as_str)
    }

    /// Whether offsets are committed at all.
    pub(crate) fn commits(&self) -> bool {
        self.standalone.as_ref().is_none_or(|standalone| standalone.commit)
    }

    /// Whether the listener completes when what was there at its start is read.
    pub(crate) fn completes(&self) -> bool {
        self.standalone.as_ref().is_some_and(|standalone| standalone.until_end)
    }

    /// The topics that dead letters of this listener go to; none where no failure ends in one.
    pub(crate) fn dead_letter_topics(&self) -> Vec<String> {
        // Where records are put off, the consumer of their own topics asks for all.
        if !self.failures.publish_dead_letters() || self.reads_retry_topics {
            return Vec::new();
        }
        self.topics.iter().map(|topic| self.dead_letter.topic_for(topic)).collect()
    }

    /// The topics that replies of this listener go to; none where it does not reply, or records say where.
    pub(crate) fn reply_topics(&self) -> Vec<String> {
        let send_to = self.send_to.as_ref().filter(|_| !self.reads_retry_topics);
        send_to.map(|send_to| send_to.topics(&self.topics)).unwrap_or_default()
    }

    /// The retry topics of this listener; none where records are tried again in their place only.
    pub(crate) fn all_retry_topics(&self) -> Vec<String> {
        self.retry_topics.as_ref().map(|settings| settings.all_topics(&self.topics)).unwrap_or_default()
    }

    /// What the consumer of the retry topics runs with: a group of its own, so that neither side waits for the other's
    /// rebalances.
    pub(crate) fn of_retry_topics(&self) -> Option<Self> {
        let topics = self.all_retry_topics();
        if topics.is_empty() {
            return None;
        }
        let group_id = format!("{}-retry", self.group_id);
        // Whatever lies there was put there by this listener, before the group has committed anything as well.
        let own = [("group.id", group_id.clone()), ("auto.offset.reset", "earliest".to_owned())];
        let mut client_properties = self.client_properties.clone();
        client_properties.retain(|(name, _)| own.iter().all(|(own, _)| name != own));
        client_properties.extend(own.map(|(name, value)| (name.to_owned(), value.into())));
        Some(Self {
            topics,
            group_id,
            client_id: format!("{}-retry", self.client_id),
            consumers: 1,
            auto_offset_reset: AutoOffsetReset::Earliest,
            group_instance_id: self.group_instance_id.as_ref().map(|id| format!("{id}-retry")),
            reads_retry_topics: true,
            client_properties,
            ..self.clone()
        })
    }
}

/// The producer of a registry.
#[derive(Clone, Debug)]
pub(crate) struct ProducerSettings {
    /// librdkafka's own bound on the time until a record is acknowledged or given up.
    pub(crate) delivery_timeout: Duration,
    /// Whether an acknowledged record is stored by all replicas in sync, and once.
    pub(crate) is_safe: bool,
    /// The whole librdkafka configuration of the producer.
    pub(crate) properties: Vec<(String, secrecy::SecretString)>,
}

/// When the framework asks for a commit. Names are Spring's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckMode {
    /// After each record.
    Record,
    /// When work is finished, at most every `commit_interval`.
    Batch,
    /// Every `ack_time`.
    Time,
    /// Every `ack_count` records.
    Count,
    /// Every `ack_time` or `ack_count` records, whichever comes first.
    CountTime,
    /// As `Batch`, counting what the listener acknowledges.
    Manual,
    /// At once when the listener acknowledges; the next record starts after the broker's answer.
    ManualImmediate,
    /// Before the record is handled.
    AtMostOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingTopics {
    Wait,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AutoOffsetReset {
    Earliest,
    Latest,
    Error,
    /// Start this long before now where nothing is committed.
    ByDuration(Duration),
}

/// What a listener does with a handler that runs for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStuck {
    Report,
    Leave,
}

/// Who runs the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupProtocol {
    /// Its members.
    Classic,
    /// The broker: KIP-848.
    Consumer,
}

/// What a listener that cannot go on does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFatal {
    Stop,
    Restart,
    Exit,
}

/// How payloads are decoded where the listener names no type for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Codec {
    #[default]
    Json,
    Text,
    Bytes,
}

/// How often and how fast a record that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RetrySettings {
    /// Deliveries in all, the first included; `None`: for ever.
    pub(crate) attempts: Option<u32>,
    pub(crate) delay: Duration,
    pub(crate) multiplier: f64,
    pub(crate) max_delay: Duration,
    /// Share of the delay that is drawn at random, 0.0 to 1.0.
    pub(crate) jitter: f64,
    /// No delivery begins later than this after the first one failed; `None`: for ever.
    pub(crate) max_elapsed: Option<Duration>,
}

/// What becomes of a record that will not be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Hold,
    DeadLetter,
    Skip,
    Stop,
}

/// What one class of error meets: retries first, then an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FailurePolicy {
    pub(crate) retry: RetrySettings,
    pub(crate) action: OnFailure,
}

/// `retry` and `on_failure` as one: a policy per error class with a default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailurePolicies {
    pub(crate) default: FailurePolicy,
    pub(crate) by_class: Vec<(ErrorClass, FailurePolicy)>,
}

impl FailurePolicies {
    pub(crate) fn of(&self, class: &ErrorClass) -> &FailurePolicy {
        self.by_class.iter().find(|(named, _)| named == class).map_or(&self.default, |(_, policy)| policy)
    }

    /// Whether any class has a limit of attempts, so that they have to be remembered beyond an assignment.
    pub(crate) fn limit_attempts(&self) -> bool {
        self.all().any(|policy| policy.retry.attempts.is_some())
    }

    /// Whether any class ends in a dead letter.
    pub(crate) fn publish_dead_letters(&self) -> bool {
        self.all().any(|policy| policy.action == OnFailure::DeadLetter)
    }

    fn all(&self) -> impl Iterator<Item = &FailurePolicy> {
        self.by_class.iter().map(|(_, policy)| policy).chain([&self.default])
    }
}

/// Where dead letters go, and what is written on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetterSettings {
    /// With `{topic}` for the topic that a record was read from.
    pub(crate) topic: String,
    pub(crate) headers: HeaderStyle,
}

/// `retry_topics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryTopicSettings {
    /// How long a record waits before each further delivery; not empty.
    pub(crate) delays: Vec<Duration>,
    /// With `{topic}` for the topic that a record was read from first; without the suffix.
    pub(crate) topic: String,
    pub(crate) suffix: Suffix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCorrupt {
    Hold,
    Skip,
}

/// Bounds per assigned partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) in_flight_records: usize,
    pub(crate) in_flight_bytes: u64,
    pub(crate) max_payload: u64,
}

/// What is read without a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standalone {
    pub(crate) partitions: Vec<(String, PartitionSelection)>,
    /// Where those begin that have no beginning of their own.
    pub(crate) initial_offset: InitialOffset,
    /// Finished work is committed under `group_id`.
    pub(crate) commit: bool,
    pub(crate) until_end: bool,
    /// From the start of the container.
    pub(crate) until_timeout: Option<Duration>,
}
