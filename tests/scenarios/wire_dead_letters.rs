//! Records on their way to another topic while something happens: a kill between the broker's answer and the commit, a
//! revoke with the answer outstanding.

use std::collections::BTreeMap;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::{ListenerError, ListenerRegistryBuilder, Phase, RecordMetadata, kafka_listener, listener};
use rdkafka::types::RDKafkaApiKey as Api;
use serde_json::{Value, json};
use support::accounts::Accounts;
use support::{Effect, Kafka, Member, MemberOptions, Record, Requests, eventually, unique};

use crate::common::{Diary, Ground, SOON};
use crate::wire::Wire;

#[kafka_listener(id = "wired-letters")]
async fn fails(order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), ListenerError> {
    if order["fails"] == true {
        return Err(ListenerError::retryable("it fails"));
    }
    drop(diary.begin(&meta));
    Ok(())
}

/// A topic, and where records that fail go: `suffix` behind its name.
async fn ground(partitions: i32, suffix: &str) -> (Ground, String) {
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    let other = format!("{}{suffix}", ground.topic);
    for topic in [&ground.topic, &other] {
        Wire::broker().create_topic(topic, partitions).await.unwrap();
    }
    (ground, other)
}

/// How often each record of the other topic is there, by its offset in the first.
async fn stored(topic: &str, origin: &str) -> BTreeMap<(i32, i64), usize> {
    let mut found = BTreeMap::new();
    for stored in Wire::broker().read_topic(topic).await.unwrap() {
        let value = |name: &str| {
            let name = format!("{origin}{name}");
            stored.headers.iter().find(|(found, _)| *found == name).and_then(|(_, value)| value.clone()).unwrap()
        };
        let partition = i32::from_be_bytes(value("partition").try_into().unwrap());
        let offset = i64::from_be_bytes(value("offset").try_into().unwrap());
        *found.entry((partition, offset)).or_default() += 1;
    }
    found
}

/// Three records that fail; the process is killed when the broker has the first in the other topic and the commit of that
/// is on its way, never to arrive.
async fn killed_in_between(suffix: &str, origin: &str, settings: &[(&str, &str)]) {
    let (ground, other) = ground(1, suffix).await;
    let order = |n| Record::to(&ground.topic).partition(0).json(json!({ "orderId": format!("{n}") }));
    Wire::broker().produce_all((0..3).map(order)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let client_id = unique("client");
    let program = env!("CARGO_BIN_EXE_member");
    let options = |kafka: &Kafka| {
        let options = MemberOptions::new(program, kafka, &ground.topic, &ground.group, directory.path());
        let options = options
            .set("listener.client_id", &client_id)
            .set("listener.session_timeout", "6s")
            .set("listener.ack_mode", "record")
            .set("listener.sync_commits", "true")
            .set("listener.retry.attempts", "1");
        let options = settings.iter().fold(options, |options, (path, value)| options.set(path, value));
        options.with(["--on", "*=fail"])
    };
    let commits = Requests::to(Api::OffsetCommit).of_client(&format!("{client_id}-0"));
    let held = Wire::proxy().inject(commits, Effect::HalfOpen);
    let mut first = Member::spawn("first", &options(&Wire::broker().behind_proxies().unwrap())).unwrap();
    held.wait_for_hits(1, SOON).await.unwrap();
    assert_eq!(stored(&other, origin).await, BTreeMap::from([((0, 0), 1)]), "it commits what the broker has");
    assert_eq!(first.kill().await.unwrap().signal, Some(9));
    held.lift();
    assert_eq!(Wire::broker().committed(&ground.group, &ground.topic).await.unwrap(), BTreeMap::new());

    let mut second = Member::spawn("second", &options(Wire::broker())).unwrap();
    Wire::broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    assert!(second.stop(SOON).await.unwrap().is_clean(), "{}", second.words());
    let expected = BTreeMap::from([((0, 0), 2), ((0, 1), 1), ((0, 2), 1)]);
    assert_eq!(stored(&other, origin).await, expected, "the one in between twice, each of the others once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_dead_letter_and_its_commit_repeats_that_one_alone() {
    killed_in_between("-dlt", "kafka_dlt-original-", &[("listener.on_failure", "dead_letter")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_retry_topic_and_the_commit_repeats_that_one_alone() {
    killed_in_between("-retry", "kafka_original-", &[("listener.retry_topics.delays", "1h")]).await;
}

/// Each of two partitions is at a record that fails, and the broker does not answer its producer. A second member joins and
/// takes one of them over.
async fn revoked_in_between(suffix: &str, on_failure: &str, delays: &str) {
    let (ground, other) = ground(2, suffix).await;
    let orders = |partition| {
        let orders = [json!({ "fails": true }), json!({})];
        let topic = ground.topic.clone();
        orders.map(|order| Record::to(&topic).partition(partition).json(order))
    };
    Wire::broker().produce_all((0..2).flat_map(orders)).await.unwrap();
    let (diary, client_id) = (Diary::default(), unique("client"));
    let member = |kafka: &Kafka, client_id: &str| -> ListenerRegistryBuilder {
        let builder = ground.registry_on(kafka).register(listener!(fails)).state(diary.clone());
        let builder = builder.set("kafka.client_id", client_id).set("listener.session_timeout", "6s");
        let builder = builder.set("listener.on_failure", on_failure).set("listener.retry.attempts", "1");
        builder.set("listener.retry_topics.delays", delays).set("listener.revoke_timeout", "20s")
    };
    let produces = Requests::to(Api::Produce).of_client(&format!("{client_id}-producer"));
    let held = Wire::proxy().inject(produces, Effect::HoldRequest);
    let first = member(&Wire::broker().behind_proxies().unwrap(), &client_id).start().await.unwrap();
    held.wait_for_hits(1, SOON).await.unwrap();
    let producing = async |count| {
        let so = || async {
            let status = first.status();
            let own = status.listeners[0].partitions.iter().filter(|one| one.topic_partition.topic() == ground.topic);
            ensure!(own.filter(|one| one.phase == Phase::Producing).count() == count, "{status}");
            Ok(())
        };
        eventually(SOON, &format!("{count} are on their way"), so).await.unwrap();
    };
    producing(2).await;
    let second = member(Wire::broker(), "neighbour").start().await.unwrap();
    let committed = || async {
        let committed = Wire::broker().committed(&ground.group, &ground.topic).await?;
        ensure!(committed.values().filter(|offset| **offset == 2).count() == 1, "{committed:?}");
        Ok(())
    };
    eventually(SOON, "the second member goes on where it took over", committed).await.unwrap();
    producing(1).await;
    held.lift();
    Wire::broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    first.shutdown().await.into_result().unwrap();
    second.shutdown().await.into_result().unwrap();
    let handled: Vec<_> = diary.entries().iter().map(|entry| (entry.partition, entry.offset)).collect();
    assert_eq!(handled.len(), 2, "{handled:?}");
    if delays.is_empty() {
        let accounts = Accounts::of(Wire::broker(), &ground.topic, &other, handled, &[]).await.unwrap();
        accounts.assert_complete();
        assert_eq!((accounts.dead_letters(), accounts.repeated()), (2, 1), "the one that was taken over, once more");
    } else {
        let mut times: Vec<_> = stored(&other, "kafka_original-").await.into_values().collect();
        times.sort_unstable();
        assert_eq!(times, [1, 2], "the one that was taken over, once more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_does_not_wait_for_a_dead_letter_on_its_way_which_is_repeated_once_at_most() {
    revoked_in_between("-dlt", "dead_letter", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_does_not_wait_for_a_record_on_its_way_to_a_retry_topic() {
    revoked_in_between("-retry", "hold", "1h").await;
}
