//! What listeners send: acknowledged, counted, and waited for at the end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::{Producer, ProducerRecord, SendError, SendResult, kafka_listener, listener};
use serde::{Deserialize, Serialize};
use support::{Cluster, Record, broker, eventually, unique};
use tokio::sync::mpsc;

use crate::common::{Ground, SOON};

#[derive(Debug, Deserialize)]
struct Order {
    number: u32,
}

#[derive(Debug, Serialize)]
struct Invoice {
    order: u32,
}

/// Where invoices go, and who is told what became of them.
#[derive(Clone)]
struct Billing {
    topic: String,
    sent: mpsc::Sender<(u32, SendResult)>,
}

#[kafka_listener(id = "producing-bill")]
async fn bill(order: Order, State(billing): State<Billing>, producer: Producer) -> anyhow::Result<()> {
    let invoice = Invoice { order: order.number };
    let record = ProducerRecord::to(&billing.topic)
        .key(order.number.to_string())
        .json(&invoice)
        .header("kind", "invoice")
        .null_header("void")
        .timestamp(1_700_000_000_000 + i64::from(order.number));
    let stored = producer.send(record).await?;
    billing.sent.send((order.number, stored)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_sends_and_knows_where_each_record_was_stored() {
    const COUNT: u32 = 50;
    let ground = Ground::new(2).await;
    let invoices = unique("invoices");
    broker().create_topic(&invoices, 3).await.unwrap();
    let orders = (0..COUNT).map(|number| Record::to(&ground.topic).json(serde_json::json!({ "number": number })));
    broker().produce_all(orders).await.unwrap();

    let (sent, mut told) = mpsc::channel(100);
    let billing = Billing { topic: invoices.clone(), sent };
    let listeners = ground.registry().register(listener!(bill)).state(billing).start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    let report = listeners.shutdown().await;
    assert_eq!(report.unsent, 0);
    report.into_result().unwrap();

    let stored = broker().read_topic(&invoices).await.unwrap();
    assert_eq!(stored.len(), COUNT as usize);
    told.close();
    let mut seen = 0;
    while let Some((number, place)) = told.recv().await {
        let found = stored.iter().find(|one| (one.partition, one.offset) == (place.partition(), place.offset()));
        let found = found.unwrap_or_else(|| panic!("nothing is stored at {place:?}"));
        assert_eq!(found.key.as_deref(), Some(number.to_string().as_bytes()));
        assert_eq!(found.payload, Some(serde_json::to_vec(&serde_json::json!({ "order": number })).unwrap()));
        let headers = [("kind".to_owned(), Some(b"invoice".to_vec())), ("void".to_owned(), None)];
        assert_eq!(found.headers, headers);
        assert_eq!(found.timestamp, Some(1_700_000_000_000 + i64::from(number)));
        seen += 1;
    }
    assert_eq!(seen, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_an_error_and_is_not_created() {
    let ground = Ground::new(1).await;
    let missing = unique("missing");
    let (sent, _told) = mpsc::channel(1);
    let billing = Billing { topic: missing.clone(), sent };
    let listeners = ground.registry().register(listener!(bill)).state(billing).start().await.unwrap();
    let refused = listeners.producer().send(ProducerRecord::to(&missing).payload("{}")).await.unwrap_err();
    assert_eq!(refused, SendError::UnknownTopic { topic: missing.clone() });
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(broker().partitions(&missing).await.unwrap(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_what_was_sent_and_counts_what_has_no_answer() {
    const BUDGET: Duration = Duration::from_secs(4);
    let cluster = Cluster::start(1).await.unwrap();
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    cluster.create_topic(&ground.topic, 1).await.unwrap();
    let (sent, _told) = mpsc::channel(1);
    let billing = Billing { topic: ground.topic.clone(), sent };
    // Long enough for the shutdown to find them in the queue.
    let builder = ground.registry_on(&cluster).set("kafka.producer.linger", "30s");
    let builder = builder.set("listener.auto_startup", false).register(listener!(bill)).state(billing);
    let listeners = builder.start().await.unwrap();
    let dispatch = |payload: &'static str| {
        let (producer, topic) = (listeners.producer(), ground.topic.clone());
        tokio::spawn(async move { producer.send(ProducerRecord::to(topic).payload(payload)).await })
    };

    let first = dispatch("first");
    let queued = || async {
        ensure!(listeners.producer().flush(Duration::ZERO).await == 1, "not in the queue yet");
        Ok(())
    };
    eventually(SOON, "the record waits in the queue", queued).await.unwrap();
    let report = listeners.shutdown_within(SOON).await;
    assert_eq!(report.unsent, 0);
    assert_eq!(first.await.unwrap().unwrap().offset(), 0);

    cluster.freeze(1).unwrap();
    let second = dispatch("second");
    eventually(SOON, "the record waits in the queue", queued).await.unwrap();
    let began = Instant::now();
    let report = listeners.shutdown_within(BUDGET).await;
    assert_eq!(report.unsent, 1);
    assert!(report.to_string().contains("not acknowledged"), "{report}");
    assert!(report.into_result().is_err());
    assert!(began.elapsed() < BUDGET + Duration::from_secs(10), "{:?}", began.elapsed());
    second.abort();
    cluster.thaw(1).unwrap();
}
