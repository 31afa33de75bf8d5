//! librdkafka's mock cluster, for faults that a real broker cannot be made to show: one request fails with one code.
//!
//! The first join of a group takes 3 s there and a later rebalance up to the session timeout less one second, so tests
//! on it use [`SESSION`].

use std::ops::Deref;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::kafka::Kafka;

/// The session timeout that tests on the mock use: the shortest that leaves room for a slow machine.
pub const SESSION: Duration = Duration::from_secs(6);

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Call = Box<dyn FnOnce(&Cluster) + Send>;

/// A mock cluster on a thread of its own, because librdkafka's handle must not move between threads.
#[derive(Debug)]
pub struct MockKafka {
    kafka: Kafka,
    calls: SyncSender<Call>,
}

impl MockKafka {
    /// Starts a mock with `brokers` brokers, numbered from 1.
    ///
    /// # Errors
    ///
    /// When librdkafka cannot open its sockets.
    pub fn start(brokers: i32) -> anyhow::Result<Self> {
        let (calls, to_do) = sync_channel::<Call>(16);
        let (tell, started) = sync_channel(1);
        std::thread::Builder::new().name("mock-kafka".to_owned()).spawn(move || match Cluster::new(brokers) {
            Ok(cluster) => {
                if tell.send(Ok(cluster.bootstrap_servers())).is_ok() {
                    for call in to_do {
                        call(&cluster);
                    }
                }
            }
            // The starter waits for this answer, so it cannot be gone.
            Err(err) => tell.send(Err(err)).unwrap_or_default(),
        })?;
        let servers = started.recv().context("the mock cluster's thread ended")??;
        Ok(Self { kafka: Kafka::new(servers), calls })
    }

    /// Creates a topic.
    ///
    /// # Errors
    ///
    /// When the mock refuses.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        self.on_cluster(move |cluster| cluster.create_topic(&topic, partitions, 1))
    }

    /// The next requests of this API fail with these codes, one each.
    ///
    /// # Errors
    ///
    /// When the mock's thread is gone.
    pub fn fail_requests(&self, api: RDKafkaApiKey, codes: &[RDKafkaRespErr]) -> anyhow::Result<()> {
        let codes = codes.to_vec();
        self.on_cluster(move |cluster| {
            cluster.request_errors(api, &codes);
            Ok(())
        })
    }

    /// Takes back what [`MockKafka::fail_requests`] has still in store for this API.
    ///
    /// # Errors
    ///
    /// When the mock's thread is gone.
    pub fn stop_failing(&self, api: RDKafkaApiKey) -> anyhow::Result<()> {
        self.on_cluster(move |cluster| {
            cluster.clear_request_errors(api);
            Ok(())
        })
    }

    /// Every request that concerns this topic fails with this code; `NO_ERROR` ends it.
    ///
    /// # Errors
    ///
    /// When the mock refuses.
    pub fn fail_topic(&self, topic: &str, code: RDKafkaRespErr) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        self.on_cluster(move |cluster| cluster.topic_error(&topic, code))
    }

    /// Makes a broker the coordinator of a group.
    ///
    /// # Errors
    ///
    /// When there is no such broker.
    pub fn coordinator(&self, group: &str, broker: i32) -> anyhow::Result<()> {
        let group = MockCoordinator::Group(group.to_owned());
        self.on_cluster(move |cluster| cluster.coordinator(group, broker))
    }

    /// Makes a broker the leader of a partition; `None` leaves it without one.
    ///
    /// # Errors
    ///
    /// When there is no such broker or partition.
    pub fn leader(&self, topic: &str, partition: i32, broker: Option<i32>) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        self.on_cluster(move |cluster| cluster.partition_leader(&topic, partition, broker))
    }

    /// Closes a broker's connections and refuses new ones.
    ///
    /// # Errors
    ///
    /// When there is no such broker.
    pub fn down(&self, broker: i32) -> anyhow::Result<()> {
        self.on_cluster(move |cluster| cluster.broker_down(broker))
    }

    /// Lets a broker accept connections again.
    ///
    /// # Errors
    ///
    /// When there is no such broker.
    pub fn up(&self, broker: i32) -> anyhow::Result<()> {
        self.on_cluster(move |cluster| cluster.broker_up(broker))
    }

    /// Delays every answer of a broker.
    ///
    /// # Errors
    ///
    /// When there is no such broker.
    pub fn round_trip_time(&self, broker: i32, delay: Duration) -> anyhow::Result<()> {
        self.on_cluster(move |cluster| cluster.broker_round_trip_time(broker, delay))
    }

    fn on_cluster(
        &self,
        call: impl FnOnce(&Cluster) -> rdkafka::error::KafkaResult<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (tell, answer) = sync_channel(1);
        // The answer finds its reader waiting in the line after next.
        let call: Call = Box::new(move |cluster| tell.send(call(cluster)).unwrap_or_default());
        self.calls.send(call).map_err(|_| anyhow!("the mock cluster's thread ended"))?;
        Ok(answer.recv().context("the mock cluster's thread ended")??)
    }
}

impl Deref for MockKafka {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}
