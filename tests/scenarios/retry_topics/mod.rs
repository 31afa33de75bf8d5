//! Retry topics: a record that failed waits in a topic of its own until it is due, and nothing waits for it, nothing is
//! early, nothing is lost.

mod faults;
mod manual;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use kafka_listener::extract::{Attempt, Headers, State};
use kafka_listener::status::ListenerStatus;
use kafka_listener::{
    Error, HoldOutcome, ListenerError, ListenerRegistry, ListenerRegistryBuilder, Phase, RecordMetadata,
    TopicPartition, kafka_listener, listener,
};
use serde::{Deserialize, Serialize};
use support::event::{Outcome, What};
use support::kafka::Stored;
use support::{Member, MemberOptions, Record, broker, eventually, unique};

use crate::common::{Ground, SOON, watch_log};

/// A record that fails this often, wherever it is delivered.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Order {
    number: usize,
    fails: u32,
    #[serde(default)]
    for_good: bool,
}

/// One delivery, as its handler saw it.
#[derive(Clone, Debug)]
struct Delivery {
    group: String,
    number: usize,
    topic: String,
    attempt: Attempt,
    millis: i64,
    /// What the record's header says.
    due: Option<i64>,
    failed: bool,
}

#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<Vec<Delivery>>>);

impl Ledger {
    fn of(&self, number: usize) -> Vec<Delivery> {
        self.0.lock().unwrap().iter().filter(|delivery| delivery.number == number).cloned().collect()
    }

    fn all(&self) -> Vec<Delivery> {
        self.0.lock().unwrap().clone()
    }

    async fn wait(&self, what: &str, holds: impl Fn(&[Delivery]) -> bool) {
        let look = || async {
            let all = self.all();
            ensure!(holds(&all), "{} deliveries, the last: {:?}", all.len(), all.iter().rev().take(5));
            Ok(())
        };
        eventually(SOON, what, look).await.unwrap();
    }
}

fn now_millis() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn big_integer(value: &[u8]) -> i64 {
    value.iter().fold(if value[0] < 0x80 { 0 } else { -1 }, |number, byte| (number << 8) | i64::from(*byte))
}

#[kafka_listener(id = "put-off", retry_topics = { delays = ["300ms", "700ms"] })]
async fn put_off(
    order: Order,
    meta: RecordMetadata,
    headers: Headers,
    attempt: Attempt,
    State(ledger): State<Ledger>,
) -> Result<(), ListenerError> {
    let failed = attempt.number() <= order.fails;
    ledger.0.lock().unwrap().push(Delivery {
        group: meta.group_id().to_owned(),
        number: order.number,
        topic: meta.topic().to_owned(),
        attempt,
        millis: now_millis(),
        due: headers.get("retry_topic-backoff-timestamp").map(big_integer),
        failed,
    });
    match failed {
        true if order.for_good => Err(ListenerError::terminal("for good")),
        true => Err(ListenerError::retryable("for now")),
        false => Ok(()),
    }
}

/// A topic with two retry topics and a dead letter topic.
struct Case {
    ground: Ground,
    ledger: Ledger,
    partitions: i32,
    first: String,
    second: String,
    dead: String,
}

impl Case {
    async fn new(partitions: i32) -> Self {
        Self::with_delays(partitions, [300, 700]).await
    }

    async fn with_delays(partitions: i32, delays: [u64; 2]) -> Self {
        let case = Self::without_topics(partitions, delays).await;
        for topic in [&case.first, &case.second, &case.dead] {
            broker().create_topic(topic, partitions).await.unwrap();
        }
        case
    }

    /// What a listener has whose delays are equal.
    async fn with_one_topic(partitions: i32) -> Self {
        let case = Self::without_topics(partitions, [0, 0]).await;
        let one = format!("{}-retry", case.ground.topic);
        for topic in [&one, &case.dead] {
            broker().create_topic(topic, partitions).await.unwrap();
        }
        Self { first: one.clone(), second: one, ..case }
    }

    async fn without_topics(partitions: i32, delays: [u64; 2]) -> Self {
        let ground = Ground::new(partitions).await;
        let [first, second] = delays.map(|delay| format!("{}-retry-{delay}", ground.topic));
        let dead = format!("{}-dlt", ground.topic);
        Self { ground, ledger: Ledger::default(), partitions, first, second, dead }
    }

    fn builder(&self) -> ListenerRegistryBuilder {
        let builder = self.ground.registry().register(listener!(put_off)).state(self.ledger.clone());
        builder.set("listener.on_failure", "dead_letter").set("listener.session_timeout", "6s")
    }

    async fn start(&self) -> ListenerRegistry {
        let listeners = self.builder().start().await.unwrap();
        listeners.wait_until_assigned(SOON).await.unwrap();
        listeners
    }

    fn record(&self, number: usize, fails: u32) -> Record {
        self.order(Order { number, fails, for_good: false })
    }

    fn order(&self, order: Order) -> Record {
        let partition = i32::try_from(order.number).unwrap() % self.partitions;
        Record::to(&self.ground.topic)
            .partition(partition)
            .key(format!("key-{}", order.number))
            .json(serde_json::to_value(order).unwrap())
    }

    fn retry_group(&self) -> String {
        format!("{}-retry", self.ground.group)
    }

    /// Until everything in all topics is done.
    async fn settle(&self) {
        broker().wait_for_commits_to_end(&self.ground.group, &self.ground.topic, SOON * 2).await.unwrap();
        for topic in [&self.first, &self.second] {
            broker().wait_for_commits_to_end(&self.retry_group(), topic, SOON * 2).await.unwrap();
        }
    }
}

fn texts(stored: &Stored) -> BTreeMap<&str, &[u8]> {
    stored.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?))).collect()
}

fn number_of(stored: &Stored) -> usize {
    serde_json::from_slice::<Order>(stored.payload.as_deref().unwrap()).unwrap().number
}

async fn status(listeners: &ListenerRegistry, what: &str, holds: impl Fn(&ListenerStatus) -> bool) {
    let so = || async {
        let status = listeners.status();
        ensure!(holds(&status.listeners[0]), "{status}");
        Ok(())
    };
    eventually(SOON, what, so).await.unwrap();
}

fn is_in(status: &ListenerStatus, phase: Phase) -> bool {
    status.partitions.iter().any(|partition| partition.phase == phase)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_is_tried_again_when_it_is_due_and_nothing_waits_for_it() {
    const COUNT: usize = 40;
    let case = Case::new(2).await;
    let listeners = case.start().await;
    let began = now_millis();
    // One in ten fails once, one in ten twice.
    let fails = |number: usize| match number % 10 {
        3 => 1,
        7 => 2,
        _ => 0,
    };
    let records: Vec<_> =
        (0..COUNT).map(|number| case.record(number, fails(number)).header("trace", Some("7"))).collect();
    broker().produce_all(records).await.unwrap();
    case.ledger.wait("all are handled", |all| all.iter().filter(|one| !one.failed).count() == COUNT).await;
    case.settle().await;
    let found = listeners.status().listeners.remove(0);
    assert_eq!((found.handled, found.put_off, found.dead_lettered), (COUNT as u64, 4 + 2 * 4, 0), "{found}");
    let groups: Vec<_> = found.consumers.iter().map(|consumer| consumer.group_id.as_str()).collect();
    assert_eq!(groups, [case.ground.group.as_str(), &case.retry_group()], "one member for all retry topics");
    listeners.shutdown().await.into_result().unwrap();

    let mut late = Vec::new();
    for number in 0..COUNT {
        let deliveries = case.ledger.of(number);
        let topics: Vec<_> = deliveries.iter().map(|delivery| delivery.topic.as_str()).collect();
        let way = [case.ground.topic.as_str(), &case.first, &case.second];
        assert_eq!(topics, way[..=fails(number) as usize], "{deliveries:?}");
        for (index, delivery) in (1..).zip(&deliveries) {
            let of = if index == 3 { "3 of 3".to_owned() } else { format!("{index} of 3") };
            assert_eq!(delivery.attempt.to_string(), of);
            assert_eq!(delivery.group, case.ground.group, "the group that the record is handled for");
        }
        for (pair, delay) in deliveries.windows(2).zip([300, 700]) {
            let [failed, again] = pair else { unreachable!() };
            let due = again.due.unwrap();
            assert!(due >= failed.millis + delay, "due {} ms after it failed", due - failed.millis);
            assert!(again.millis >= due, "{} ms early", due - again.millis);
            late.push(again.millis - due);
        }
    }
    // Others may keep this machine busy; that none is exact would be a delay of ours.
    assert!(late.iter().any(|late| *late <= 100), "{late:?}");
    let all = case.ledger.all();
    let last_of_main = all.iter().filter(|one| one.topic == case.ground.topic).map(|one| one.millis).max().unwrap();
    let first_again = all.iter().filter(|one| one.topic != case.ground.topic).map(|one| one.millis).min().unwrap();
    assert!(first_again >= began + 300 && last_of_main >= began, "{began} {last_of_main} {first_again}");
    for partition in 0..2 {
        let of_main = all.iter().filter(|one| one.topic == case.ground.topic && one.number % 2 == partition);
        assert!(of_main.is_sorted_by_key(|one| one.number), "in its own topic order holds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_headers_are_springs_and_do_not_grow_and_the_bytes_are_untouched() {
    // Retention takes what is older than a week.
    let time = now_millis() - 3_600_000;
    let case = Case::new(3).await;
    let listeners = case.start().await;
    let own = [("trace", Some("7")), ("none", None), ("trace", Some("8"))];
    let record =
        own.iter().fold(case.record(2, 9).timestamp(time), |record, (name, value)| record.header(*name, *value));
    let before = now_millis();
    broker().produce_all([record]).await.unwrap();
    case.settle().await;
    status(&listeners, "it is given up", |status| status.dead_lettered == 1).await;
    listeners.shutdown().await.into_result().unwrap();

    let group = case.ground.group.as_bytes();
    for (attempts, topic, delay) in [(2_u8, &case.first, 300), (3, &case.second, 700)] {
        let stored = broker().read_topic(topic).await.unwrap();
        assert_eq!(stored.len(), 1, "{stored:?}");
        let [stored] = &stored[..] else { unreachable!() };
        assert_eq!(
            (stored.partition, stored.key.as_deref()),
            (2, Some(&b"key-2"[..])),
            "the partition of the same number"
        );
        assert_eq!(number_of(stored), 2);
        assert!(stored.timestamp.unwrap() >= before, "retention counts from now");
        let mut headers = stored.headers.clone();
        let due = headers.remove(headers.len() - 2);
        let expected = [
            ("trace", Some(&b"7"[..])),
            ("none", None),
            ("trace", Some(b"8")),
            ("kafka_original-topic", Some(case.ground.topic.as_bytes())),
            ("kafka_original-partition", Some(&[0, 0, 0, 2])),
            ("kafka_original-offset", Some(&[0; 8])),
            ("kafka_original-timestamp", Some(&time.to_be_bytes())),
            ("kafka_original-timestamp-type", Some(b"CreateTime")),
            ("kafka_dlt-original-consumer-group", Some(group)),
            ("retry_topic-original-timestamp", Some(&time.to_be_bytes()[2..])),
            ("kafka_exception-fqcn", Some(b"retryable")),
            ("kafka_exception-message", Some(b"for now")),
            ("retry_topic-attempts", Some(&[0, 0, 0, attempts])),
            ("retry_topic-consumer-group", Some(group)),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect();
        assert_eq!(headers, expected);
        assert_eq!(due.0, "retry_topic-backoff-timestamp");
        let due = due.1.unwrap();
        assert!(due.len() == 6 && big_integer(&due) >= before + delay, "{due:?}");
    }
    let dead = broker().read_topic(&case.dead).await.unwrap();
    assert_eq!((dead.len(), dead[0].partition), (1, 2));
    assert_eq!(support::accounts::origin(&dead[0]), Some((2, 0)), "a dead letter names the listener's own topic");
    let headers = texts(&dead[0]);
    assert_eq!(headers["kafka_dlt-original-topic"], case.ground.topic.as_bytes());
    assert_eq!(headers["kafka_dlt-original-timestamp"], time.to_be_bytes());
    assert_eq!(headers["kafka_dlt-original-consumer-group"], group);
    assert_eq!(headers["retry_topic-attempts"], [0, 0, 0, 3]);
    assert_eq!(dead[0].timestamp, Some(time));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_error_skips_the_retry_topics_wherever_it_comes() {
    let case = Case::new(1).await;
    let listeners = case.start().await;
    let bad = Record::to(&case.ground.topic).partition(0).payload("no JSON");
    let terminal = case.order(Order { number: 1, fails: 9, for_good: true });
    broker().produce_all([bad, terminal, case.record(2, 0)]).await.unwrap();
    case.settle().await;
    status(&listeners, "both are given up", |status| status.dead_lettered == 2).await;
    assert_eq!(listeners.status().listeners[0].put_off, 0);
    assert_eq!(broker().end_offsets(&case.first).await.unwrap(), BTreeMap::from([(0, 0)]));
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_attempts_a_record_is_tried_so_often_in_each_topic() {
    let case = Case::new(1).await;
    let builder = case.builder().set("listener.retry.attempts", "2").set("listener.retry.delay", "1ms");
    let listeners = builder.start().await.unwrap();
    broker().produce_all([case.record(0, 5)]).await.unwrap();
    case.ledger.wait("it is handled", |all| all.iter().any(|one| !one.failed)).await;
    let way: Vec<_> = case.ledger.of(0).iter().map(|one| (one.topic.clone(), one.attempt.to_string())).collect();
    let topics = [&case.ground.topic, &case.ground.topic, &case.first, &case.first, &case.second, &case.second];
    let expected = topics.iter().zip(1..).map(|(topic, number)| ((*topic).clone(), format!("{number} of 6")));
    assert_eq!(way, expected.collect::<Vec<_>>());
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_delays_share_one_topic_and_the_number_of_deliveries_stands_in_the_record() {
    let case = Case::with_one_topic(1).await;
    let builder = case.builder().set("listeners.put-off.retry_topics.delays", "100ms,100ms,100ms");
    let listeners = builder.start().await.unwrap();
    broker().produce_all([case.record(0, 3), case.record(1, 9), case.record(2, 0)]).await.unwrap();
    status(&listeners, "one is handled and one given up", |status| (status.handled, status.dead_lettered) == (2, 1))
        .await;
    for (number, deliveries) in [(0, 4), (1, 4), (2, 1)] {
        let way: Vec<_> = case.ledger.of(number).iter().map(|one| one.attempt.number()).collect();
        assert_eq!(way, (1..=deliveries).collect::<Vec<_>>());
    }
    assert_eq!(broker().end_offsets(&case.first).await.unwrap(), BTreeMap::from([(0, 6)]));
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_on_one_topic_handle_their_own_records_in_its_retry_topics_only() {
    let case = Case::new(1).await;
    let other = Case {
        ground: Ground { group: unique("other"), ..case.ground.clone() },
        ledger: Ledger::default(),
        ..Case::new(1).await
    };
    let other = Case { first: case.first.clone(), second: case.second.clone(), dead: case.dead.clone(), ..other };
    let both = [case.start().await, other.start().await];
    broker().produce_all((0..10).map(|number| case.record(number, 1))).await.unwrap();
    for case in [&case, &other] {
        case.settle().await;
        for number in 0..10 {
            let way: Vec<_> = case.ledger.of(number).into_iter().map(|one| (one.topic, one.group)).collect();
            let group = &case.ground.group;
            assert_eq!(way, [(case.ground.topic.clone(), group.clone()), (case.first.clone(), group.clone())]);
        }
    }
    assert_eq!(broker().end_offsets(&case.first).await.unwrap(), BTreeMap::from([(0, 20)]));
    for listeners in both {
        listeners.shutdown().await.into_result().unwrap();
    }
}
