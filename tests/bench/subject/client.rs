//! The client settings that all subjects share: the best ones for the hand-written loop among those that were tried.

use rdkafka::ClientConfig;

use crate::protocol::Assignment;

/// librdkafka settings of every subject.
pub(crate) const SETTINGS: [(&str, &str); 6] = [
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "8192"),
    ("check.crcs", "true"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

/// The configuration of a hand-written consumer.
pub(super) fn config(assignment: &Assignment) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &assignment.bootstrap_servers)
        .set("group.id", &assignment.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    for (name, value) in &assignment.client {
        config.set(name, value);
    }
    config
}
