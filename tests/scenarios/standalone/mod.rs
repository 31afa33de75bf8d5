//! Listeners without a group: which partitions, from where, up to where, and what is committed.

mod commits;
mod completion;
mod order;
mod seek;
mod starts;
mod tails;

use std::sync::{Arc, Mutex};

use kafka_listener::extract::{RawPayload, State};
use kafka_listener::{ListenerRegistry, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener};
use support::{Kafka, broker, eventually};

use super::common::{SOON, watch_log};

/// Partition, offset and payload.
type Given = (i32, i64, Option<Vec<u8>>);

/// What a listener has been given, in the order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Mutex<Vec<Given>>>);

impl Shelf {
    /// Partitions and offsets, sorted.
    pub(super) fn places(&self) -> Vec<(i32, i64)> {
        let mut places: Vec<_> =
            self.0.lock().unwrap().iter().map(|(partition, offset, _)| (*partition, *offset)).collect();
        places.sort_unstable();
        places
    }

    /// The offsets of a partition in the order in which they came.
    pub(super) fn offsets(&self, partition: i32) -> Vec<i64> {
        let given = self.0.lock().unwrap();
        given.iter().filter(|(of, ..)| *of == partition).map(|(_, offset, _)| *offset).collect()
    }

    pub(super) async fn wait_for(&self, records: usize) {
        let there = || async {
            let count = self.0.lock().unwrap().len();
            anyhow::ensure!(count >= records, "{count} of {records}");
            Ok(())
        };
        eventually(SOON, &format!("{records} records are read"), there).await.unwrap();
    }

    /// Whether it holds what an independent reader finds in the topic, each record once.
    pub(super) async fn check_whole(&self, topic: &str) {
        let stored = broker().read_topic(topic).await.unwrap();
        let stored: Vec<_> = stored.into_iter().map(|one| (one.partition, one.offset, one.payload)).collect();
        let mut given = self.0.lock().unwrap().clone();
        given.sort_unstable();
        assert_eq!(given, stored);
    }
}

#[kafka_listener(id = "reader", topic = "${app.topic}", partitions = "*")]
async fn read(payload: RawPayload, meta: RecordMetadata, State(shelf): State<Shelf>) {
    shelf.0.lock().unwrap().push((meta.partition(), meta.offset(), payload.as_bytes().map(<[u8]>::to_vec)));
}

/// A registry of one listener without a group that reads all of `topic`.
pub(super) fn reader(topic: &str, shelf: &Shelf) -> ListenerRegistryBuilder {
    reader_on(broker(), topic, shelf)
}

pub(super) fn reader_on(kafka: &Kafka, topic: &str, shelf: &Shelf) -> ListenerRegistryBuilder {
    watch_log();
    ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .set("kafka.properties.topic.metadata.refresh.interval.ms", 1000)
        .set("app.topic", topic)
        .register(listener!(read))
        .state(shelf.clone())
}
