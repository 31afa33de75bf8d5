//! When a listener with `until = "end"` completes, when it does not, and what it says then.

use kafka_listener::extract::State;
use kafka_listener::rebalance::{Partitions, RebalanceListener, StartOffset};
use kafka_listener::{ContainerState, ListenerRegistry, Outcome, Phase, RecordMetadata, kafka_listener, listener};
use support::{Record, broker, eventually, unique};

use super::super::common::{Diary, Latch, SOON};
use super::{Shelf, reader};

/// Fails at 13, waits at 7 for the latch, and takes all others.
#[kafka_listener(id = "careful", topic = "${app.topic}", partitions = "*", until = "end")]
async fn careful(n: u32, meta: RecordMetadata, State((diary, latch)): State<(Diary, Latch)>) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    match n {
        13 => anyhow::bail!("unlucky"),
        7 => latch.passed().await,
        _ => {}
    }
    Ok(())
}

async fn topic(numbers: &[u32]) -> String {
    let topic = unique("numbers");
    broker().create_topic(&topic, 2).await.unwrap();
    let partition = |n: u32| i32::from(n > 9);
    let records = numbers.iter().map(|n| Record::to(&topic).partition(partition(*n)).payload(n.to_string()));
    broker().produce_all(records.collect::<Vec<_>>()).await.unwrap();
    topic
}

fn careful_reader(topic: &str, diary: &Diary, latch: &Latch) -> kafka_listener::ListenerRegistryBuilder {
    super::super::common::watch_log();
    ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("app.topic", topic)
        .register(listener!(careful))
        .state((diary.clone(), latch.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_completes_when_the_last_handler_has_ended_and_not_before() {
    let topic = topic(&[1, 2, 7, 11]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let listeners = careful_reader(&topic, &diary, &latch).start().await.unwrap();
    diary.wait("all have begun", |entries| entries.len() == 4).await;
    let container = listeners.container("careful").unwrap();
    let idle = || async {
        let of_eleven = container.status().partitions.into_iter().find(|one| one.topic_partition.partition() == 1);
        Ok(of_eleven.is_some_and(|one| one.phase == Phase::Idle))
    };
    eventually(SOON, "the other partition is through", idle).await.unwrap();
    assert_eq!(container.state(), ContainerState::Running);
    let ready = listeners.health().ready;
    assert!(!ready.ok && ready.reasons[0].contains("has not read to the end yet"), "{ready:?}");

    latch.open();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!((container.state(), diary.ended()), (ContainerState::Completed, 4));
    assert!(listeners.health().ready.ok && listeners.health().live.ok && listeners.health().started.ok);
    assert!(listeners.status().to_string().contains("completed"), "{}", listeners.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_after_the_start_are_not_read() {
    let topic = topic(&[1, 7]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let listeners = careful_reader(&topic, &diary, &latch).start().await.unwrap();
    diary.wait("it is at the last record", |entries| entries.len() == 2).await;
    let late = (0..50).map(|n| Record::to(&topic).partition(n % 2).payload("20"));
    broker().produce_all(late.collect::<Vec<_>>()).await.unwrap();
    latch.open();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(listeners.container("careful").unwrap().state(), ContainerState::Completed);
    assert_eq!((diary.begun(0), diary.begun(1)), (vec![0, 1], vec![]));
}

/// Writes records when the ends are known and nothing is read yet.
struct LateRecords;

#[async_trait::async_trait]
impl RebalanceListener for LateRecords {
    async fn on_partitions_assigned(&self, assigned: Partitions) -> Vec<StartOffset> {
        let late = assigned.partitions.iter().flat_map(|partition| {
            let to = |n| Record::to(partition.topic()).partition(partition.partition()).payload(format!("{n}"));
            (20..40).map(to)
        });
        broker().produce_all(late.collect::<Vec<_>>()).await.unwrap();
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_spans_the_end_is_cut_there() {
    // What is there and what comes later is fetched in one response, and drained in one batch.
    let topic = topic(&[1, 2, 3, 11]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let builder = careful_reader(&topic, &diary, &latch).rebalance_listener(LateRecords);
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(listeners.container("careful").unwrap().state(), ContainerState::Completed);
    assert_eq!((diary.begun(0), diary.begun(1)), (vec![0, 1, 2], vec![0]));
    let ends = broker().end_offsets(&topic).await.unwrap();
    assert_eq!(
        ends.into_values().collect::<Vec<_>>(),
        [23, 21],
        "the late records were there before anything was read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_on_hold_ends_it_with_an_error_that_names_the_record() {
    let topic = topic(&[1, 2, 13, 14]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let builder = careful_reader(&topic, &diary, &latch).set("listener.retry.attempts", 1);
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let container = listeners.container("careful").unwrap();
    assert_eq!(container.state(), ContainerState::Failed);
    let failure = container.failure().unwrap();
    assert!(failure.contains(&format!("`{topic}-1@0`")) && failure.contains("unlucky"), "{failure}");
    assert_eq!(diary.begun(0), [0, 1], "the other partition is read to its end");
    let report = listeners.shutdown().await;
    assert!(matches!(&report.listeners[0].outcome, Outcome::Failed(reason) if reason.contains("on hold")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_policy_skips_is_done() {
    let topic = topic(&[1, 13, 14]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let builder = careful_reader(&topic, &diary, &latch).set("listener.retry.attempts", 1);
    let listeners = builder.set("listener.on_failure", "skip").start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(listeners.container("careful").unwrap().state(), ContainerState::Completed);
    assert_eq!(diary.begun(1), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_time_it_says_which_partition_misses_what() {
    let topic = topic(&[1, 2, 13, 14]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let builder = careful_reader(&topic, &diary, &latch).set("listener.until_timeout", "3s");
    let listeners = builder.set("listener.retry.max_delay", "200ms").start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let failure = listeners.container("careful").unwrap().failure().unwrap();
    let says = |text: &str| assert!(failure.contains(text), "{text}: {failure}");
    says("until_timeout (3s)");
    says(&format!("`{topic}-1` is read to 2 of 2"));
    says("record 0 is ");
    says("unlucky");
    assert!(!failure.contains(&format!("`{topic}-0`")), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_never_comes_is_named_when_the_time_is_over() {
    let (topic, shelf) = (unique("numbers"), Shelf::default());
    let builder = reader(&topic, &shelf).set("listener.until", "end").set("listener.until_timeout", "2s");
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let failure = listeners.container("reader").unwrap().failure().unwrap();
    assert!(failure.contains(&format!("topic `{topic}` is not there")), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_ends_by_itself_when_every_listener_has_completed() {
    let topic = topic(&[1, 2, 11]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let run = careful_reader(&topic, &diary, &latch).run();
    let report = tokio::time::timeout(SOON, run).await.unwrap().unwrap();
    assert_eq!(report.to_string(), "`careful`: completed");
    report.into_result().unwrap();
    assert_eq!(diary.ended(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_started_again_reads_to_the_end_of_then() {
    let topic = topic(&[1, 2]).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let listeners = careful_reader(&topic, &diary, &latch).start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    broker().produce(Record::to(&topic).partition(0).payload("3")).await.unwrap();
    let container = listeners.container("careful").unwrap();
    container.start().unwrap();
    tokio::time::timeout(SOON, container.stopped()).await.unwrap();
    assert_eq!((container.state(), diary.begun(0)), (ContainerState::Completed, vec![0, 1, 0, 1, 2]));
}
