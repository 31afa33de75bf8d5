//! Bytes that nobody expects: they meet the policy of their class, and everything around them flows.

use anyhow::ensure;
use kafka_listener::extract::{FromRecord, HeaderNotUtf8, Headers, Key, State};
use kafka_listener::{HoldOutcome, Phase, RecordContext, RecordMetadata, TopicPartition, kafka_listener, listener};
use serde::Deserialize;
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, SOON};

const GOOD: &str = r#"{"orderId":"ORDER-1","quantity":2}"#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
    quantity: u32,
}

/// The header `tenant`, which has to be text.
struct Tenant(Option<String>);

impl FromRecord for Tenant {
    type Rejection = HeaderNotUtf8;

    fn from_record(record: RecordContext<'_>) -> Result<Self, HeaderNotUtf8> {
        Ok(Self(Headers::of(record).get_str("tenant")?.map(str::to_owned)))
    }
}

#[kafka_listener(id = "payloads-strict")]
async fn strict(order: Order, Key(key): Key<String>, tenant: Tenant, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    assert_eq!((order.order_id.as_str(), order.quantity, key.as_str()), ("ORDER-1", 2, "user"));
    assert_eq!(tenant.0.as_deref(), Some("eu"));
}

/// Takes any JSON, also what nests deeper than a stack bears.
#[kafka_listener(id = "payloads-any")]
async fn any(payload: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    drop(payload);
}

fn good(topic: &str) -> Record {
    Record::to(topic).key("user").header("tenant", Some("eu")).payload(GOOD)
}

/// Every kind of bad record, and what status says of it.
fn bad(topic: &str) -> Vec<(Record, &'static str)> {
    let with_payload = |payload: &[u8]| good(topic).payload(payload);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let plain = || Record::to(topic).payload(GOOD);
    vec![
        (with_payload(br#"{"orderId":"ORDER-1","quan"#), "payload does not decode as `Order`: EOF while parsing"),
        (
            with_payload(br#"{"orderId":"ORDER-1","quantity":"two"}"#),
            "payload does not decode as `Order`: invalid type",
        ),
        (with_payload(b""), "empty payload where `Order` is expected"),
        (Record::to(topic).key("user").header("tenant", Some("eu")), "tombstone where `Order` is expected"),
        (
            with_payload(b"{\"orderId\":\"\xff\xfe\",\"quantity\":2}"),
            "payload does not decode as `Order`: invalid unicode",
        ),
        (with_payload(&deep), "payload does not decode as `Order`"),
        (plain().key([0xff, 0xfe]).header("tenant", Some("eu")), "key does not decode as `String`"),
        (plain().header("tenant", Some("eu")), "null key where `String` is expected"),
        (plain().key("user").header("tenant", Some([0xff, 0xfe])), "the value of header `tenant` is not UTF-8"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_decode_is_skipped_where_the_policy_says_so() {
    let ground = Ground::new(2).await;
    let bad = bad(&ground.topic);
    let many = i64::try_from(bad.len()).unwrap();
    let mut records = vec![good(&ground.topic).partition(0)];
    for (record, _) in bad {
        records.extend([record.partition(0), good(&ground.topic).partition(0), good(&ground.topic).partition(1)]);
    }
    broker().produce_all(records).await.unwrap();
    let diary = Diary::default();
    let builder = ground.registry().register(listener!(strict)).state(diary.clone());
    let listeners = builder.set("listener.on_failure", "skip").start().await.unwrap();

    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    assert_eq!(diary.begun(0), (0..=many).map(|n| 2 * n).collect::<Vec<_>>(), "the good ones and no other");
    diary.check_each_once_in_order(1, many);
    let many = many.unsigned_abs();
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (2 * many + 1, many, 0, many));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_decode_holds_its_partition_and_says_why() {
    let kinds = bad("");
    let well = i32::try_from(kinds.len()).unwrap();
    let ground = Ground::new(well + 1).await;
    let mut records = Vec::new();
    for (partition, (record, _)) in (0..).zip(bad(&ground.topic)) {
        records.extend([record.partition(partition), good(&ground.topic).partition(partition)]);
    }
    records.extend((0..20).map(|_| good(&ground.topic).partition(well)));
    broker().produce_all(records).await.unwrap();
    let diary = Diary::default();
    let listeners = ground.registry().register(listener!(strict)).state(diary.clone()).start().await.unwrap();
    let container = listeners.container("payloads-strict").unwrap();

    let held = || async {
        let status = listeners.status();
        ensure!(status.listeners[0].partitions.len() == kinds.len() + 1, "{status}");
        for (partition, (_, why)) in status.listeners[0].partitions.iter().zip(&kinds) {
            ensure!(partition.phase == Phase::Held, "{partition}");
            let blocking = partition.blocking.as_ref().expect("a held partition names its record");
            ensure!(blocking.offset == 0 && blocking.attempt == 1, "{partition}");
            ensure!(blocking.error.as_ref().is_some_and(|error| error.contains(why)), "{partition}, not {why}");
        }
        Ok(())
    };
    eventually(SOON, "every kind of bad record is on hold", held).await.unwrap();
    diary.wait("the partition without one flows", |entries| entries.len() == 20).await;
    diary.check_each_once_in_order(well, 20);
    assert!(listeners.health().live.ok);

    // Trying again changes nothing; skipping goes on behind.
    for partition in 0..well {
        let partition = TopicPartition::new(ground.topic.as_str(), partition);
        let again = || async {
            ensure!(container.retry_held(&partition).await == HoldOutcome::Applied { offset: 0 });
            Ok(())
        };
        eventually(SOON, "it is tried again", again).await.unwrap();
    }
    eventually(SOON, "every kind of bad record is on hold again", held).await.unwrap();
    assert_eq!(diary.entries().len(), 20);
    for partition in 0..well {
        let partition = TopicPartition::new(ground.topic.as_str(), partition);
        assert_eq!(container.skip_held(&partition, 0).await, HoldOutcome::Applied { offset: 0 });
    }
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    for partition in 0..well {
        assert_eq!(diary.begun(partition), [1]);
    }
    let many = u64::try_from(well).unwrap();
    assert_eq!((status.handled, status.failed, status.skipped), (20 + many, 2 * many, many));
}

/// A JSON string of 20 MB.
fn huge(topic: &str) -> Record {
    Record::to(topic).payload([b"\"".as_slice(), &vec![b'x'; 20_000_000], b"\""].concat())
}

async fn produce_huge_among_small(ground: &Ground) {
    let small = |partition| Record::to(&ground.topic).partition(partition).payload("{}");
    for _ in 0..2 {
        let before = (0..5).flat_map(|_| [small(0), small(1)]);
        broker().produce_all(before.chain([huge(&ground.topic).partition(0)])).await.unwrap();
    }
    broker().produce_all((0..5).flat_map(|_| [small(0), small(1)])).await.unwrap();
}

async fn ground_for_huge_records() -> Ground {
    let ground = Ground { topic: support::unique("huge"), group: support::unique("group") };
    broker().create_topic_with(&ground.topic, 2, &[("max.message.bytes", "33554432")]).await.unwrap();
    ground
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_five_times_its_partitions_credit_passes_in_its_turn() {
    let ground = ground_for_huge_records().await;
    produce_huge_among_small(&ground).await;
    let diary = Diary::default();
    let builder = ground.registry().register(listener!(any)).state(diary.clone());
    let listeners = builder.set("listener.limits.in_flight_bytes", "4MiB").start().await.unwrap();

    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON * 2).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    diary.check_each_once_in_order(0, 17);
    diary.check_each_once_in_order(1, 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_over_the_limit_meets_the_policy_of_its_class() {
    let ground = ground_for_huge_records().await;
    produce_huge_among_small(&ground).await;
    let diary = Diary::default();
    let builder = ground.registry().register(listener!(any)).state(diary.clone());
    let builder = builder.set("listener.limits.max_payload", "1MiB").set("listener.on_failure.too_large", "skip");
    let listeners = builder.start().await.unwrap();

    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON * 2).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);
    assert_eq!(diary.begun(0), (0..17).filter(|offset| ![5, 11].contains(offset)).collect::<Vec<_>>());
    diary.check_each_once_in_order(1, 15);
    assert_eq!((status.failed, status.skipped), (2, 2));
}
