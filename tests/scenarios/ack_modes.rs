//! When each ack mode commits, as an outside reader of the group's offsets sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, RecordMetadata, kafka_listener, listener};
use support::kafka::GroupOffsets;
use support::{CommitSampler, broker, clock, eventually, unique};

use super::desk::{Desk, Journal, Order, SOON, Step, registry};

const RECORDS: usize = 40;

/// One partition of 40 orders, worked off as far as its desk lets it, and a reader of what is committed of it.
struct Course {
    topic: String,
    group: String,
    journal: Journal,
    desk: Desk,
    listeners: ListenerRegistry,
    sampler: CommitSampler,
}

impl Course {
    /// Starts with these settings of `[listener]`, and the desk as `prepare` leaves it.
    async fn start(settings: &[(&str, &str)], prepare: impl FnOnce(Desk) -> Desk) -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, 1).await.unwrap();
        broker().produce_orders(&topic, RECORDS).await.unwrap();
        let journal = Journal::default();
        let desk = prepare(Desk::new("only", &journal));
        let sampler = CommitSampler::start(broker(), &group, &topic, Duration::from_millis(5)).await.unwrap();
        let mut builder = registry(broker(), &topic, &group, &desk);
        for (key, value) in settings {
            builder = builder.set(format!("listener.{key}"), *value);
        }
        let listeners = builder.start().await.unwrap();
        Self { topic, group, journal, desk, listeners, sampler }
    }

    fn committed(&self) -> i64 {
        self.sampler.latest().get(&0).copied().unwrap_or(0)
    }

    async fn wait_for_commit(&self, offset: i64) {
        let there = || async {
            let committed = self.committed();
            anyhow::ensure!(committed == offset, "{committed} is committed");
            Ok(())
        };
        eventually(SOON, &format!("{offset} is committed"), there).await.unwrap();
    }

    /// Lets everything up to the next latch be handled, and waits until it is.
    async fn go_on(&self, from: i64, to: i64) {
        self.desk.hold(0, to);
        self.desk.release(0, from);
        self.journal.wait_for(Step::Started, 0, to).await;
    }

    /// Stops, and looks whether everything finished was committed by that at the latest, and nothing ever went back.
    async fn end(self) -> support::kafka::Samples {
        self.listeners.shutdown().await.into_result().unwrap();
        let done = i64::try_from(self.journal.count(Step::Ended)).unwrap();
        assert_eq!(broker().committed(&self.group, &self.topic).await.unwrap(), BTreeMap::from([(0, done)]));
        let samples = self.sampler.stop().await.unwrap();
        assert_eq!(samples.regressions(), []);
        samples
    }
}

/// How many answers of the reader count as a time in which nothing was committed.
const ANSWERS: usize = 30;

impl Course {
    async fn stays_at(&self, offset: i64) {
        let offsets = broker().group_offsets(&self.group, &self.topic).await.unwrap();
        for _ in 0..ANSWERS {
            let committed = read(&offsets).await;
            assert_eq!(committed, offset);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn read(offsets: &GroupOffsets) -> i64 {
    let offsets = offsets.clone();
    let read = tokio::task::spawn_blocking(move || offsets.read(SOON));
    read.await.unwrap().unwrap().get(&0).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_commits_what_is_finished_at_most_every_commit_interval() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let settings = [("ack_mode", "batch"), ("commit_interval", "500ms")];
    let course = Course::start(&settings, |desk| {
        desk.hold(0, 0);
        desk.with_pace(Duration::from_millis(60))
    })
    .await;
    course.journal.wait_for(Step::Started, 0, 0).await;
    let released = clock::monotonic();
    course.desk.release(0, 0);
    course.journal.wait_for_ended(RECORDS).await;
    course.wait_for_commit(40).await;
    let samples = course.end().await.samples;

    let changes: Vec<_> = samples.windows(2).filter(|pair| pair[0].committed != pair[1].committed).collect();
    // Two of them may be seen close together, where a slow answer to one has held up the next: what counts is how many
    // there were until each.
    for (before, pair) in (0..).zip(&changes) {
        let after = Duration::from_nanos(pair[1].answered - released);
        assert!(after >= INTERVAL * before, "{before} commits and {:?} within {after:?}", pair[1]);
    }
    // 40 records of 60 ms are more than four intervals.
    assert!(changes.len() >= 3, "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_commits_after_each_record_whatever_the_interval() {
    let settings = [("ack_mode", "record"), ("commit_interval", "30m"), ("max_commit_delay", "1h")];
    let course = Course::start(&settings, |desk| {
        desk.hold(0, 1);
        desk
    })
    .await;
    for offset in 1..6 {
        course.journal.wait_for(Step::Started, 0, offset).await;
        course.wait_for_commit(offset).await;
        course.go_on(offset, offset + 1).await;
    }
    course.desk.release(0, 6);
    course.wait_for_commit(40).await;
    course.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_commits_every_ack_time() {
    commits_after_a_while(&[("ack_mode", "time"), ("ack_time", "2s")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_commit_commits_what_is_finished_every_auto_commit_interval() {
    commits_after_a_while(&[("enable_auto_commit", "true"), ("auto_commit_interval", "2s")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_time_commits_after_the_time_when_the_count_is_not_reached() {
    commits_after_a_while(&[("ack_mode", "count_time"), ("ack_count", "1000"), ("ack_time", "2s")]).await;
}

/// Two seconds after the first finished record, and only what is finished.
async fn commits_after_a_while(settings: &[(&str, &str)]) {
    let course = Course::start(settings, |desk| {
        desk.hold(0, 0);
        desk.hold(0, 10);
        desk
    })
    .await;
    course.journal.wait_for(Step::Started, 0, 0).await;
    let released = clock::monotonic();
    course.desk.release(0, 0);
    course.wait_for_commit(10).await;
    course.stays_at(10).await;
    course.desk.release(0, 10);
    course.wait_for_commit(40).await;
    let samples = course.end().await.samples;

    let first = samples.iter().find(|sample| !sample.committed.is_empty()).unwrap();
    let after = Duration::from_nanos(first.answered - released);
    assert!(after >= Duration::from_secs(2), "committed {after:?} after the begin");
    assert_eq!(first.committed, BTreeMap::from([(0, 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn count_commits_when_so_many_are_finished() {
    commits_after_seven(&[("ack_mode", "count"), ("ack_count", "7")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_time_commits_when_so_many_are_finished_whatever_the_time() {
    commits_after_seven(&[("ack_mode", "count_time"), ("ack_count", "7"), ("ack_time", "1h")]).await;
}

async fn commits_after_seven(settings: &[(&str, &str)]) {
    let course = Course::start(settings, |desk| {
        desk.hold(0, 6);
        desk
    })
    .await;
    course.journal.wait_for(Step::Started, 0, 6).await;
    course.stays_at(0).await;
    course.go_on(6, 7).await;
    course.wait_for_commit(7).await;
    course.go_on(7, 13).await;
    course.stays_at(7).await;
    course.go_on(13, 14).await;
    course.wait_for_commit(14).await;
    course.desk.release(0, 14);
    course.journal.wait_for_ended(RECORDS).await;
    course.end().await;
}

/// What the group had committed when each record started.
#[derive(Clone)]
struct Looks {
    offsets: GroupOffsets,
    seen: Arc<Mutex<Vec<(i64, i64)>>>,
}

#[kafka_listener(id = "looking", ack_mode = "record")]
async fn look(_order: Order, meta: RecordMetadata, State(looks): State<Looks>) {
    let committed = read(&looks.offsets).await;
    looks.seen.lock().unwrap().push((meta.offset(), committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sync_commits_a_record_starts_when_the_one_before_it_is_committed() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, RECORDS).await.unwrap();
    let looks = Looks { offsets: broker().group_offsets(&group, &topic).await.unwrap(), seen: Arc::default() };
    let listeners = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .register(listener!(look))
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("listener.topic", topic.as_str())
        .set("listener.group_id", group.as_str())
        .set("listener.sync_commits", true)
        .state(looks.clone())
        .start()
        .await
        .unwrap();
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let seen = looks.seen.lock().unwrap().clone();
    assert_eq!(seen, (0..40).map(|offset| (offset, offset)).collect::<Vec<_>>());
}
