//! Where the orders go: a real cluster if one is named, otherwise a broker inside this process.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use kafka_listener::embedded::EmbeddedKafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::task::block_in_place;

pub(crate) const TOPIC: &str = "orders";

/// Of the topic that the shop creates; an existing one is taken as it is.
const PARTITIONS: i32 = 6;

/// The most orders that the embedded broker is sure to keep; a test relates it to the broker's limits.
pub(crate) const EMBEDDED_ORDERS: u32 = 100_000;

const DEADLINE: Duration = Duration::from_secs(15);

/// A cluster that has the topic.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) bootstrap_servers: String,
    pub(crate) partitions: i32,
    /// Runs until this value is dropped.
    embedded: Option<EmbeddedKafka>,
}

impl Cluster {
    pub(crate) fn start_embedded() -> anyhow::Result<Self> {
        let embedded = EmbeddedKafka::builder().topic(TOPIC, PARTITIONS).start()?;
        Ok(Self {
            bootstrap_servers: embedded.bootstrap_servers().to_owned(),
            partitions: PARTITIONS,
            embedded: Some(embedded),
        })
    }

    /// Finds the topic on a real cluster, or creates it there.
    pub(crate) async fn connect(bootstrap_servers: String) -> anyhow::Result<Self> {
        let client = ClientConfig::new().set("bootstrap.servers", &bootstrap_servers).clone();
        if block_in_place(|| count_partitions(&client))?.is_none() {
            create_topic(&client).await?;
        }
        let partitions = block_in_place(|| await_topic(&client))?;
        Ok(Self { bootstrap_servers, partitions, embedded: None })
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}

/// `None` where the topic does not exist. A consumer asks, because a producer's question would create it.
fn count_partitions(client: &ClientConfig) -> anyhow::Result<Option<i32>> {
    let consumer: BaseConsumer = client.create()?;
    let metadata = consumer
        .fetch_metadata(Some(TOPIC), DEADLINE)
        .with_context(|| format!("reach the cluster at `{}`", client.get("bootstrap.servers").unwrap_or_default()))?;
    let topic = metadata.topics().first().filter(|topic| topic.error().is_none());
    Ok(topic
        .map(|topic| topic.partitions().len())
        .filter(|partitions| *partitions > 0)
        .map(i32::try_from)
        .transpose()?)
}

async fn create_topic(client: &ClientConfig) -> anyhow::Result<()> {
    const BROKERS_DEFAULT: i32 = -1;
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(BROKERS_DEFAULT));
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    for outcome in admin.create_topics([&topic], &options).await? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(anyhow!(code).context(format!("create topic `{topic}`"))),
        }
    }
    Ok(())
}

/// A topic is not everywhere the moment that it is created.
fn await_topic(client: &ClientConfig) -> anyhow::Result<i32> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(partitions) = count_partitions(client)? {
            return Ok(partitions);
        }
    }
    bail!("topic `{TOPIC}` did not appear within {} s", DEADLINE.as_secs())
}

#[cfg(test)]
mod tests {
    use kafka_listener::embedded::{RETAINED_BATCHES, RETAINED_BYTES};

    use super::*;
    use crate::order::RunId;

    #[test]
    fn the_embedded_broker_keeps_the_orders_even_if_each_is_a_batch_of_its_own_and_the_keys_are_uneven() {
        const BATCH_AND_RECORD_HEADERS: u64 = 61 + 21;
        let order = RunId::random().order(EMBEDDED_ORDERS);
        let size = (serde_json::to_vec(&order).unwrap().len() + order.user_id.len()) as u64 + BATCH_AND_RECORD_HEADERS;
        let fullest = u64::from(EMBEDDED_ORDERS) / u64::from(PARTITIONS.unsigned_abs()) * 3 / 2;
        assert!(fullest * size < RETAINED_BYTES, "{fullest} orders of {size} bytes");
        assert!(fullest < RETAINED_BATCHES);
    }
}
