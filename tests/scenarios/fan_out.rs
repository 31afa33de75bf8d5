//! One topic, three groups: each handles every record once, in order, and commits to the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, RecordMetadata, kafka_listener, listener};
use serde::Deserialize;
use support::{SOON, broker, eventually, unique};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
}

/// What handlers saw: by listener, the partition, the offset and the order's id.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Sighting>>>);

type Sighting = (String, i32, i64, String);

impl Seen {
    fn note(&self, meta: &RecordMetadata, order: Order) {
        let seen = (meta.listener_id().to_owned(), meta.partition(), meta.offset(), order.order_id);
        self.0.lock().unwrap().push(seen);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[kafka_listener(id = "fan-out-orders")]
async fn orders(order: Order, meta: RecordMetadata, State(seen): State<Seen>) {
    seen.note(&meta, order);
}

#[kafka_listener(id = "fan-out-inventory")]
async fn inventory(order: Order, meta: RecordMetadata, State(seen): State<Seen>) -> anyhow::Result<()> {
    seen.note(&meta, order);
    Ok(())
}

#[kafka_listener(id = "fan-out-notification", concurrency = 2)]
async fn notification(order: Order, meta: RecordMetadata, State(seen): State<Seen>) {
    seen.note(&meta, order);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_groups_each_handle_every_record_once_and_commit_to_the_end() {
    const RECORDS: usize = 20_000;
    let topic = unique("orders");
    broker().create_topic(&topic, 6).await.unwrap();
    broker().produce_orders(&topic, RECORDS).await.unwrap();
    let seen = Seen::default();
    let groups = ["fan-out-orders", "fan-out-inventory", "fan-out-notification"].map(|id| (id, unique(id)));
    let mut builder = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .register(listener!(orders))
        .register(listener!(inventory))
        .register(listener!(notification))
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("listener.topic", topic.as_str())
        .state(seen.clone());
    for (id, group) in &groups {
        builder = builder.set(format!("listeners.{id}.group_id"), group.as_str());
    }
    let listeners = builder.start().await.unwrap();

    eventually(SOON * 2, "all three groups have handled everything", || async {
        let (seen, all) = (seen.len(), 3 * RECORDS);
        anyhow::ensure!(seen >= all, "{seen} of {all}");
        Ok(())
    })
    .await
    .unwrap();
    for (_, group) in &groups {
        broker().wait_for_commits_to_end(group, &topic, SOON).await.unwrap();
    }
    listeners.shutdown().await.into_result().unwrap();

    let seen = seen.0.lock().unwrap();
    for (id, _) in &groups {
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        let mut count = 0;
        for (_, partition, offset, _) in seen.iter().filter(|(listener, ..)| listener == id) {
            count += 1;
            let before = last.insert(*partition, *offset);
            assert!(before.is_none_or(|before| before + 1 == *offset), "{id}: {before:?} then {offset}");
        }
        assert_eq!(count, RECORDS, "{id}");
    }
}
