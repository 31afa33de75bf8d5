//! What the small examples share: sending records, as some other service would. Nothing here is about listeners.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Sends payloads without keys to one partition, in order. Blocks until the broker has them.
///
/// # Errors
/// The broker cannot be reached within ten seconds, or does not have the partition.
pub fn send(bootstrap_servers: &str, topic: &str, partition: i32, payloads: &[&str]) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create()?;
    for payload in payloads {
        producer
            .send(BaseRecord::<(), str>::to(topic).partition(partition).payload(payload))
            .map_err(|(error, _)| error)
            .with_context(|| format!("send to `{topic}-{partition}`"))?;
    }
    producer.flush(Duration::from_secs(10)).with_context(|| format!("send to `{topic}-{partition}`"))
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
