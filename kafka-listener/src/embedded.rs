//! A Kafka broker inside this process, for demos and quick tests: no Java, no Docker, nothing to install.
//!
//! It is librdkafka's mock cluster: producers, consumer groups, rebalances and commits work as on a real broker, all in
//! memory, on a loopback port of its own choice. It is no development broker. What it does not do:
//!
//! - It keeps [`RETAINED_BYTES`] and [`RETAINED_BATCHES`] per partition and drops the oldest beyond that without a
//!   word, so a listener that falls behind by more **loses records** here.
//! - It has no admin API: topics are made by [`EmbeddedKafka::create_topic`], and groups, topics and records are never
//!   deleted. No TLS, no SASL, no ACLs, no compaction, no retention by time, no lookup of offsets by time, and
//!   transactions isolate nothing.
//! - The first join of a group takes three seconds, a later rebalance up to the session timeout less a second. Configure
//!   a short session timeout, but more than three seconds, or the first join never succeeds: `session_timeout = "6s"`.
//! - Clients that are built on librdkafka can talk to it; others may not.

use std::error::Error as StdError;
use std::fmt;
use std::ops::RangeInclusive;

use crate::kafka::mock::MockBroker;

/// How many bytes of record batches one partition keeps.
pub const RETAINED_BYTES: u64 = 5 * 1024 * 1024;

/// How many record batches, as producers sent them, one partition keeps.
pub const RETAINED_BATCHES: u64 = 100_000;

/// The most that [`EmbeddedKafka::create_topic`] takes; far beyond what a demo needs, and little memory.
const PARTITIONS: RangeInclusive<i32> = 1..=10_000;

/// The longest topic name that Kafka takes.
const TOPIC_NAME_LENGTH: usize = 249;

/// A running broker, stopped when this value is dropped. The [module](self) lists its limits.
///
/// Drop it after the listeners: a broker that goes first leaves them with commits that nobody answers.
///
/// # Examples
///
/// ```
/// use kafka_listener::embedded::EmbeddedKafka;
///
/// # fn main() -> Result<(), kafka_listener::embedded::Error> {
/// let kafka = EmbeddedKafka::builder().topic("orders", 6).start()?;
/// assert!(kafka.bootstrap_servers().starts_with("127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
pub struct EmbeddedKafka {
    broker: MockBroker,
}

impl EmbeddedKafka {
    /// Starts a broker without topics.
    ///
    /// # Errors
    /// [`Error::Start`] when the operating system refuses a thread or a socket.
    pub fn start() -> Result<Self, Error> {
        MockBroker::start().map(|broker| Self { broker }).map_err(|error| Error::Start { source: Box::new(error) })
    }

    /// Lists the topics to create before starting.
    pub fn builder() -> EmbeddedKafkaBuilder {
        EmbeddedKafkaBuilder { topics: Vec::new() }
    }

    /// `HOST:PORT` for `kafka.bootstrap_servers`. The operating system chose the port.
    pub fn bootstrap_servers(&self) -> &str {
        self.broker.bootstrap_servers()
    }

    /// Creates a topic of 1 to 10,000 partitions. Takes microseconds; the topic can be used at once.
    ///
    /// # Errors
    /// [`Error::TopicName`] and [`Error::Partitions`] where Kafka would refuse them too, [`Error::CreateTopic`] when
    /// the topic exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        if !is_topic_name(name) {
            return Err(Error::TopicName { name: name.to_owned() });
        }
        if !PARTITIONS.contains(&partitions) {
            return Err(Error::Partitions { topic: name.to_owned(), partitions });
        }
        self.broker
            .create_topic(name, partitions)
            .map_err(|error| Error::CreateTopic { topic: name.to_owned(), source: Box::new(error) })
    }
}

impl fmt::Debug for EmbeddedKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedKafka").field("bootstrap_servers", &self.bootstrap_servers()).finish_non_exhaustive()
    }
}

/// Collects topics for an [`EmbeddedKafka`]; made by [`EmbeddedKafka::builder`].
#[derive(Clone, Debug)]
#[must_use = "the broker runs once `start` is called"]
pub struct EmbeddedKafkaBuilder {
    topics: Vec<(String, i32)>,
}

impl EmbeddedKafkaBuilder {
    /// Adds a topic, checked as by [`EmbeddedKafka::create_topic`].
    pub fn topic(mut self, name: impl Into<String>, partitions: i32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }

    /// Starts the broker and creates the topics.
    ///
    /// # Errors
    /// Those of [`EmbeddedKafka::start`] and [`EmbeddedKafka::create_topic`].
    pub fn start(self) -> Result<EmbeddedKafka, Error> {
        let kafka = EmbeddedKafka::start()?;
        for (name, partitions) in &self.topics {
            kafka.create_topic(name, *partitions)?;
        }
        Ok(kafka)
    }
}

/// Why the embedded broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker did not start.
    #[error("start the embedded broker")]
    Start {
        /// What the operating system or librdkafka said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The topic was refused, as a rule because it exists.
    #[error("create topic `{topic}` on the embedded broker")]
    CreateTopic {
        /// The topic's name.
        topic: String,
        /// What the broker said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No topic can have this name.
    #[error("`{name}` is not a topic name: use 1 to 249 letters, digits, `.`, `_` or `-`, other than `.` and `..`")]
    TopicName {
        /// The name as given.
        name: String,
    },
    /// The number of partitions is out of range.
    #[error("topic `{topic}` cannot have `{partitions}` partitions: use 1 to 10000")]
    Partitions {
        /// The topic's name.
        topic: String,
        /// The number as given.
        partitions: i32,
    },
}

/// Kafka's own rule, which the mock cluster does not apply.
fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=TOPIC_NAME_LENGTH).contains(&name.len()) && name.bytes().all(legal) && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builder_creates_its_topics() {
        let kafka = EmbeddedKafka::builder().topic("orders", 6).topic("alarms", 1).start().unwrap();
        for topic in ["orders", "alarms"] {
            assert!(matches!(kafka.create_topic(topic, 1), Err(Error::CreateTopic { .. })), "{topic} was not there");
        }
    }

    #[test]
    fn refuses_what_kafka_refuses() {
        let kafka = EmbeddedKafka::start().unwrap();
        let check = |name: &str, partitions: i32, expected: &str| {
            assert_eq!(kafka.create_topic(name, partitions).unwrap_err().to_string(), expected);
        };
        let rule = "use 1 to 249 letters, digits, `.`, `_` or `-`, other than `.` and `..`";
        for name in ["", ".", "..", "two words", "naïve", "nul\0", &"x".repeat(250)] {
            check(name, 1, &format!("`{name}` is not a topic name: {rule}"));
        }
        for partitions in [i32::MIN, -1, 0, 10_001, i32::MAX] {
            check(
                "orders",
                partitions,
                &format!("topic `orders` cannot have `{partitions}` partitions: use 1 to 10000"),
            );
        }
        kafka.create_topic("orders", 10_000).unwrap();
    }

    #[test]
    fn can_be_shared_between_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<EmbeddedKafka>();
    }
}
