//! What befalls replies on their way: a broker that is away or silent, a revoke, a stop, and kills.

use rdkafka::types::RDKafkaApiKey as Api;
use support::{Cluster, Effect, Member, MemberOptions, Requests};

use super::*;
use crate::wire::Wire;

/// A topic and the one for replies, on the broker that has a proxy.
async fn wired(partitions: i32) -> Case {
    on(Wire::broker(), partitions).await
}

async fn on(cluster: &Cluster, partitions: i32) -> Case {
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    let case = Case { replies: format!("{}-replies", ground.topic), ground, diary: Diary::default() };
    for topic in [&case.ground.topic, &case.replies] {
        cluster.create_topic(topic, partitions).await.unwrap();
    }
    case
}

/// How often each record was replied to, by what the reply says.
async fn times(kafka: &Kafka, case: &Case) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for text in texts(&kafka.read_topic(&case.replies).await.unwrap()) {
        *found.entry(text).or_default() += 1;
    }
    found
}

fn options(case: &Case, kafka: &Kafka, directory: &std::path::Path) -> MemberOptions {
    let program = env!("CARGO_BIN_EXE_member");
    MemberOptions::new(program, kafka, &case.ground.topic, &case.ground.group, directory)
        .set("listener.session_timeout", "6s")
        .set("listener.ack_mode", "record")
        .set("listener.sync_commits", "true")
        .set("listener.send_to", &case.replies)
        .with(["--acks", "reply"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_reply_and_its_commit_repeats_that_one_alone() {
    let case = wired(1).await;
    Wire::broker().produce_all(["a", "b", "c"].map(|id| case.record(0).json(json!({ "orderId": id })))).await.unwrap();
    let (directory, client_id) = (tempfile::tempdir().unwrap(), unique("client"));
    let commits = Requests::to(Api::OffsetCommit).of_client(&format!("{client_id}-0"));
    let held = Wire::proxy().inject(commits, Effect::HalfOpen);
    let behind = Wire::broker().behind_proxies().unwrap();
    let options = |kafka: &Kafka| options(&case, kafka, directory.path()).set("listener.client_id", &client_id);
    let mut first = Member::spawn("first", &options(&behind)).unwrap();
    held.wait_for_hits(1, SOON).await.unwrap();
    assert_eq!(
        times(Wire::broker(), &case).await,
        BTreeMap::from([("a".to_owned(), 1)]),
        "it commits what the broker has"
    );
    assert_eq!(first.kill().await.unwrap().signal, Some(9));
    held.lift();
    assert_eq!(Wire::broker().committed(&case.ground.group, &case.ground.topic).await.unwrap(), BTreeMap::new());

    let mut second = Member::spawn("second", &options(Wire::broker())).unwrap();
    Wire::broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    assert!(second.stop(SOON).await.unwrap().is_clean(), "{}", second.words());
    let expected = [("a", 2), ("b", 1), ("c", 1)].map(|(text, times)| (text.to_owned(), times));
    assert_eq!(times(Wire::broker(), &case).await, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_repeats_one_reply_at_most_and_loses_none() {
    const COUNT: usize = 1_000;
    let case = Case::new(1).await;
    broker().produce_all((0..COUNT).map(|n| case.record(0).payload(n.to_string()))).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = options(&case, broker(), directory.path());
    for (name, count) in [("first", 100), ("second", 300), ("third", 500)] {
        let mut member = Member::spawn(name, &options).unwrap();
        let some = || async {
            let replies = broker().end_offsets(&case.replies).await?.values().sum::<i64>();
            ensure!(replies >= count, "{replies} replies");
            Ok(())
        };
        eventually(SOON, "it replies", some).await.unwrap();
        // In the middle of it: between a reply that is acknowledged and its commit, as often as not.
        assert_eq!(member.kill().await.unwrap().signal, Some(9));
    }
    let mut last = Member::spawn("last", &options).unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON * 3).await.unwrap();
    assert!(last.stop(SOON).await.unwrap().is_clean(), "{}", last.words());
    let times = times(broker(), &case).await;
    assert_eq!(times.len(), COUNT, "every record is replied to");
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.len() <= 3 && repeated.iter().all(|(_, times)| **times == 2), "one per kill: {repeated:?}");
}

/// Each of two partitions has a reply on its way, which the broker is not shown.
async fn on_its_way(revoke_timeout: &str) -> (Case, ListenerRegistry, support::Fault) {
    let case = wired(2).await;
    let orders = (0..4).map(|n| case.record(n % 2).json(json!({ "n": n })));
    Wire::broker().produce_all(orders.collect::<Vec<_>>()).await.unwrap();
    let client_id = unique("client");
    let produces = Requests::to(Api::Produce).of_client(&format!("{client_id}-producer"));
    let held = Wire::proxy().inject(produces, Effect::HoldRequest);
    let builder = case.builder_on(&Wire::broker().behind_proxies().unwrap(), listener!(answer));
    let builder = builder.set("kafka.client_id", client_id.as_str()).set("listener.session_timeout", "6s");
    let builder = builder.set("listener.revoke_timeout", revoke_timeout).set("listener.shutdown_timeout", "60s");
    let listeners = builder.start().await.unwrap();
    held.wait_for_hits(1, SOON).await.unwrap();
    status(&listeners, "both are on their way", |status| {
        status.partitions.iter().filter(|one| one.phase == Phase::Replying).count() == 2
    })
    .await;
    assert_eq!(Wire::broker().committed(&case.ground.group, &case.ground.topic).await.unwrap(), BTreeMap::new());
    (case, listeners, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_reply_on_its_way_and_commits_its_record() {
    let (case, listeners, held) = on_its_way("5s").await;
    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    status(&listeners, "it is told to stop", |status| status.partitions.iter().all(|one| one.draining)).await;
    held.lift();
    stopping.await.unwrap().into_result().unwrap();
    let committed = Wire::broker().committed(&case.ground.group, &case.ground.topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, 1), (1, 1)]), "one each, and no other was started");
    assert_eq!(listeners.status().listeners[0].possibly_repeated, 0);

    let last = case.builder_on(Wire::broker(), listener!(answer)).start().await.unwrap();
    Wire::broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    last.shutdown().await.into_result().unwrap();
    let times = times(Wire::broker(), &case).await;
    assert!(times.len() == 4 && times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_gives_a_reply_on_its_way_up_at_its_deadline_and_says_that_it_may_repeat() {
    let (case, first, held) = on_its_way("2s").await;
    let second = case.builder_on(Wire::broker(), listener!(answer)).set("listener.session_timeout", "6s");
    let second = second.start().await.unwrap();
    let taken_over = || async {
        let committed = Wire::broker().committed(&case.ground.group, &case.ground.topic).await?;
        ensure!(committed.values().filter(|offset| **offset == 2).count() == 1, "{committed:?}");
        Ok(())
    };
    eventually(SOON, "the second member goes on where it took over", taken_over).await.unwrap();
    status(&first, "it is counted", |status| status.possibly_repeated == 1).await;
    held.lift();
    Wire::broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    first.shutdown().await.into_result().unwrap();
    second.shutdown().await.into_result().unwrap();
    let times = times(Wire::broker(), &case).await;
    let mut counts: Vec<_> = times.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 2], "the one that was taken over, once more: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_the_record_waits_and_is_replied_to_when_it_is_back() {
    let cluster = Cluster::start(1).await.unwrap();
    let case = on(&cluster, 1).await;
    let orders =
        |range: std::ops::Range<u64>| range.map(|n| case.record(0).json(json!({ "n": n }))).collect::<Vec<_>>();
    cluster.produce_all(orders(0..1)).await.unwrap();
    let builder =
        || case.builder_on(&cluster, listener!(answer_when_open)).set("kafka.producer.delivery_timeout", "1s");
    let latch = crate::common::Latch::closed();
    let listeners = builder().state(latch.clone()).start().await.unwrap();
    status(&listeners, "the handler runs", |status| status.partitions.iter().any(|one| one.phase == Phase::Running))
        .await;
    cluster.stop(1).await.unwrap();
    latch.open();
    status(&listeners, "the record waits", |status| is_waiting(status, 0, "")).await;
    assert!(!listeners.health().ready.ok);
    cluster.restart(1).await.unwrap();
    cluster.wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON * 2).await.unwrap();
    cluster.produce_all(orders(1..20)).await.unwrap();
    cluster.wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON * 2).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(case.diary.begun(0), (0..20).collect::<Vec<_>>(), "it is not handled again to be replied to");
    let times = times(&cluster, &case).await;
    assert_eq!(times.len(), 20, "{times:?}");
    assert!(times.values().filter(|times| **times > 1).count() <= 1, "the first may be stored twice: {times:?}");
}

#[kafka_listener(id = "answers", send_to = "${app.replies}")]
async fn answer_when_open(
    order: Value,
    meta: RecordMetadata,
    State(diary): State<Diary>,
    State(latch): State<crate::common::Latch>,
) -> Value {
    let _running = diary.begin(&meta);
    latch.passed().await;
    json!({ "to": order["n"] })
}
