//! librdkafka's in-process mock cluster, kept on a thread of its own.
//!
//! Its handle must not leave the thread that made it, so everybody else sends that thread commands. The cluster ends
//! with the last command sender. Only [`crate::embedded`] calls this.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;

/// One broker is enough: partitions do not share a log, and a second one would only add connections.
const BROKERS: i32 = 1;

/// A running mock cluster.
#[derive(Debug)]
pub(crate) struct MockBroker {
    bootstrap_servers: String,
    /// `None` only while it is being dropped.
    commands: Option<SyncSender<CreateTopic>>,
    /// `None` only while it is being dropped.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct CreateTopic {
    name: String,
    partitions: i32,
    answer: SyncSender<Result<(), KafkaError>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("spawn its thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Cluster(KafkaError),
}

impl MockBroker {
    pub(crate) fn start() -> Result<Self, StartError> {
        let (commands, inbox) = sync_channel(1);
        let (started, outcome) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("embedded-kafka".to_owned())
            .spawn(move || serve(&started, &inbox))
            .map_err(StartError::Thread)?;
        let bootstrap_servers = outcome.recv().unwrap_or(Err(KafkaError::Canceled)).map_err(StartError::Cluster)?;
        Ok(Self { bootstrap_servers, commands: Some(commands), thread: Some(thread) })
    }

    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// `partitions` must be positive and modest: the mock allocates what it is told to, or aborts the process.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let (answer, outcome) = sync_channel(1);
        let command = CreateTopic { name: name.to_owned(), partitions, answer };
        let commands = self.commands.as_ref().ok_or(KafkaError::Canceled)?;
        commands.send(command).map_err(|_| KafkaError::Canceled)?;
        outcome.recv().unwrap_or(Err(KafkaError::Canceled))
    }
}

impl Drop for MockBroker {
    /// Returns when the broker is gone and its port is free.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded broker's thread panicked");
        }
    }
}

fn serve(started: &SyncSender<Result<String, KafkaError>>, inbox: &Receiver<CreateTopic>) {
    let cluster = match MockCluster::new(BROKERS) {
        Ok(cluster) => cluster,
        Err(error) => return report(started, Err(error)),
    };
    report(started, Ok(cluster.bootstrap_servers()));
    for CreateTopic { name, partitions, answer } in inbox {
        report(&answer, cluster.create_topic(&name, partitions, BROKERS));
    }
}

/// Answers a caller that is blocked until it gets this one message, and may be gone if it was unwound.
fn report<T>(caller: &SyncSender<T>, outcome: T) {
    caller.send(outcome).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    use rdkafka::message::Message;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn client(broker: &MockBroker) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap_servers());
        config
    }

    fn member(broker: &MockBroker) -> BaseConsumer {
        let consumer: BaseConsumer = client(broker)
            .set("group.id", "readers")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            // Longer than the three seconds that the mock keeps the first join waiting, or it expires meanwhile.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "300")
            .create()
            .unwrap();
        consumer.subscribe(&["orders"]).unwrap();
        consumer
    }

    fn produce(broker: &MockBroker, payloads: &[&str]) {
        let producer: BaseProducer = client(broker).create().unwrap();
        for (partition, payload) in (0_i32..).zip(payloads) {
            producer
                .send(BaseRecord::<(), str>::to("orders").partition(partition).payload(payload))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    #[test]
    fn a_group_reads_what_was_produced_and_its_commits_are_kept() {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("orders", 3).unwrap();
        produce(&broker, &["a", "b", "c"]);

        let consumer = member(&broker);
        let deadline = Instant::now() + DEADLINE;
        let mut read = Vec::new();
        while read.len() < 3 {
            assert!(Instant::now() < deadline, "read only {read:?}");
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                let message = message.unwrap();
                read.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
            }
        }
        read.sort();
        assert_eq!(read, ["a", "b", "c"]);

        let mut offsets = TopicPartitionList::new();
        for partition in 0..3 {
            offsets.add_partition_offset("orders", partition, Offset::Offset(1)).unwrap();
        }
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
        let committed = member(&broker).committed_offsets(offsets.clone(), DEADLINE).unwrap();
        assert_eq!(committed, offsets);
    }

    #[test]
    fn a_topic_has_the_partitions_it_was_created_with() {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("orders", 7).unwrap();
        let producer: BaseProducer = client(&broker).create().unwrap();
        let metadata = producer.client().fetch_metadata(Some("orders"), DEADLINE).unwrap();
        assert_eq!(metadata.topics()[0].partitions().len(), 7);
    }

    #[test]
    fn a_topic_cannot_be_created_twice() {
        let broker = MockBroker::start().unwrap();
        broker.create_topic("orders", 1).unwrap();
        let error = broker.create_topic("orders", 2).unwrap_err();
        assert!(error.to_string().contains("Topic already exists"), "{error}");
    }

    #[test]
    fn dropping_it_closes_its_port_and_leaves_other_brokers_alone() {
        let (first, second) = (MockBroker::start().unwrap(), MockBroker::start().unwrap());
        let address = first.bootstrap_servers().to_owned();
        drop(TcpStream::connect(&address).unwrap());
        drop(first);
        TcpStream::connect(&address).unwrap_err();
        second.create_topic("orders", 1).unwrap();
    }
}
