//! Topics by pattern: those that match now, and those that come, go and come again.

use kafka_listener::extract::{RawPayload, State};
use kafka_listener::{ListenerRegistry, RecordMetadata, kafka_listener, listener};
use support::{broker, eventually, unique};

use super::common::{SOON, watch_log};

type Read = std::sync::Arc<std::sync::Mutex<Vec<(String, i64)>>>;

#[kafka_listener(id = "by_pattern", topic_pattern = "^${app.prefix}-.*", group_id = "${app.prefix}")]
async fn by_pattern(_payload: RawPayload, meta: RecordMetadata, State(read): State<Read>) {
    read.lock().unwrap().push((meta.topic().to_owned(), meta.offset()));
}

async fn wait_for(read: &Read, topic: &str, records: usize) {
    let there = || async {
        let count = read.lock().unwrap().iter().filter(|(of, _)| of == topic).count();
        anyhow::ensure!(count == records, "{count} of {records}");
        Ok(())
    };
    eventually(SOON, &format!("{records} records of `{topic}` are read"), there).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_match_are_read_whether_they_are_there_come_later_or_come_anew() {
    check("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_finds_the_same_topics_where_it_runs_the_group() {
    check("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_only_the_broker_cannot_read_is_named_by_health() {
    watch_log();
    let prefix = unique("shop");
    // POSIX knows references back, RE2 does not.
    let listeners = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("listener.group_protocol", "consumer")
        .set("listeners.by_pattern.topic_pattern", format!("^({prefix})-\\1"))
        .set("app.prefix", prefix.as_str())
        .register(listener!(by_pattern))
        .state(Read::default())
        .start()
        .await
        .unwrap();
    let is_told = || async {
        let ready = listeners.health().ready;
        Ok(!ready.ok && ready.reasons.iter().any(|reason| reason.contains("topic_pattern") && reason.contains("RE2")))
    };
    eventually(SOON, "health names the pattern", is_told).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
}

async fn check(protocol: &str) {
    watch_log();
    let (prefix, read) = (unique("shop"), Read::default());
    let [now, later, other] = [format!("{prefix}-orders"), format!("{prefix}-returns"), format!("not-{prefix}-orders")];
    for topic in [&now, &other] {
        broker().create_topic(topic, 2).await.unwrap();
        broker().produce_orders(topic, 10).await.unwrap();
    }
    let listeners = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("kafka.properties.topic.metadata.refresh.interval.ms", 1000)
        .set("listener.group_protocol", protocol)
        .set("app.prefix", prefix.as_str())
        .register(listener!(by_pattern))
        .state(Read::clone(&read))
        .start()
        .await
        .unwrap();
    wait_for(&read, &now, 10).await;

    broker().create_topic(&later, 1).await.unwrap();
    broker().produce_orders(&later, 5).await.unwrap();
    wait_for(&read, &later, 5).await;
    broker().create_partitions(&now, 4).await.unwrap();
    broker().produce_orders(&now, 20).await.unwrap();
    wait_for(&read, &now, 30).await;

    broker().delete_topic(&later).await.unwrap();
    let container = listeners.container("by_pattern").unwrap();
    let is_gone = || async {
        let partitions = container.status().partitions;
        Ok(partitions.iter().all(|partition| partition.topic_partition.topic() != later))
    };
    eventually(SOON, "the deleted topic is given back", is_gone).await.unwrap();
    broker().create_topic(&later, 1).await.unwrap();
    broker().produce_orders(&later, 7).await.unwrap();
    wait_for(&read, &later, 12).await;
    wait_for(&read, &other, 0).await;
    listeners.shutdown().await.into_result().unwrap();
}
