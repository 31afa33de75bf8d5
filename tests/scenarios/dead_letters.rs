//! Dead letters: published with their bytes untouched, waited for, never lost and never skipped without a word.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kafka_listener::extract::{DeadLetter, Headers, RawPayload, State};
use kafka_listener::status::ListenerStatus;
use kafka_listener::{
    Error, HoldOutcome, ListenerDefinition, ListenerError, ListenerRegistry, ListenerRegistryBuilder, Phase,
    RecordMetadata, Timestamp, TopicPartition, kafka_listener, listener,
};
use serde_json::Value;
use support::accounts::{Accounts, Place};
use support::kafka::Stored;
use support::{Cluster, Kafka, Member, MemberOptions, Record, broker, eventually, unique};
use tokio::sync::mpsc;

use crate::common::{Diary, Ground, Latch, SOON, log_of};

#[kafka_listener(id = "dead-letters")]
async fn plain(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> anyhow::Result<()> {
    drop(diary.begin(&meta));
    Ok(())
}

/// The same with the headers taken along.
#[kafka_listener(id = "dead-letters")]
async fn with_headers(_order: Value, _headers: Headers, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

/// Fails for good where the payload says so, once the latch is open.
#[kafka_listener(id = "dead-letters")]
async fn picky(
    order: Value,
    meta: RecordMetadata,
    State(diary): State<Diary>,
    State(latch): State<Latch>,
) -> Result<(), ListenerError> {
    if let Some(reason) = order.as_str() {
        latch.passed().await;
        return Err(ListenerError::terminal(reason.to_owned()));
    }
    drop(diary.begin(&meta));
    Ok(())
}

/// Where the desk puts what it reads.
type Letters = mpsc::Sender<(DeadLetter, Vec<u8>)>;

#[kafka_listener(id = "desk-for-dead-letters")]
async fn desk(payload: RawPayload, letter: DeadLetter, State(letters): State<Letters>) -> anyhow::Result<()> {
    letters.send((letter, payload.as_bytes().unwrap_or_default().to_vec())).await?;
    Ok(())
}

/// A topic with its dead letter topic, and a listener that sends there what fails.
struct Case {
    ground: Ground,
    dead: String,
    diary: Diary,
}

impl Case {
    async fn new(partitions: i32) -> Self {
        let case = Self::without_topic(partitions).await;
        broker().create_topic(&case.dead, partitions).await.unwrap();
        case
    }

    /// The same without the dead letter topic.
    async fn without_topic(partitions: i32) -> Self {
        let ground = Ground::new(partitions).await;
        Self { dead: format!("{}-dlt", ground.topic), ground, diary: Diary::default() }
    }

    fn builder(&self, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        self.builder_on(broker(), definition)
    }

    fn builder_on(&self, kafka: &Kafka, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        let builder = self.ground.registry_on(kafka).register(definition).state(self.diary.clone());
        builder.set("listener.on_failure", "dead_letter")
    }

    fn record(&self, partition: i32) -> Record {
        Record::to(&self.ground.topic).partition(partition)
    }

    fn place(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.ground.topic.as_str(), partition)
    }

    /// Every record of the topic is handled, dead-lettered, or skipped as `skipped` says; dead letters may repeat so often.
    async fn accounts(&self, kafka: &Kafka, skipped: &[Place]) -> Accounts {
        let handled = self.diary.entries().into_iter().map(|entry| (entry.partition, entry.offset));
        let accounts = Accounts::of(kafka, &self.ground.topic, &self.dead, handled, skipped).await.unwrap();
        accounts.assert_complete();
        accounts
    }
}

/// Waits until the only listener's status is as asked.
async fn status(listeners: &ListenerRegistry, what: &str, holds: impl Fn(&ListenerStatus) -> bool) {
    let so = || async {
        let status = listeners.status();
        ensure!(holds(&status.listeners[0]), "{status}");
        Ok(())
    };
    eventually(SOON, what, so).await.unwrap();
}

fn is_waiting(status: &ListenerStatus, offset: i64, because: &str) -> bool {
    status.partitions.iter().any(|partition| {
        let blocking = partition.blocking.as_ref().filter(|blocking| blocking.offset == offset);
        let error = blocking.and_then(|blocking| blocking.error.as_deref()).unwrap_or_default();
        // It goes back and forth between the two while it is tried again.
        matches!(partition.phase, Phase::DeadLetterWaiting | Phase::Producing)
            && error.starts_with("dead letter waiting: ")
            && error.contains(because)
    })
}

type HeaderList = Vec<(String, Option<Vec<u8>>)>;

fn header(name: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.to_vec()))
}

/// What Spring's tools expect on a dead letter, but for the error's text.
fn springs_headers(case: &Case, partition: i32, offset: i64, millis: i64, class: &str) -> HeaderList {
    vec![
        header("kafka_dlt-original-topic", case.ground.topic.as_bytes()),
        header("kafka_dlt-original-partition", &partition.to_be_bytes()),
        header("kafka_dlt-original-offset", &offset.to_be_bytes()),
        header("kafka_dlt-original-timestamp", &millis.to_be_bytes()),
        header("kafka_dlt-original-timestamp-type", b"CreateTime"),
        header("kafka_dlt-original-consumer-group", case.ground.group.as_bytes()),
        header("kafka_dlt-exception-fqcn", class.as_bytes()),
    ]
}

/// Two partitions of good records with one in ten that does not decode; each bad one has a key, headers and a time.
async fn untouched(definition: ListenerDefinition) {
    const COUNT: i64 = 300;
    const TIME: i64 = 1_700_000_000_000;
    let case = Case::new(2).await;
    let is_bad = |offset: i64| offset % 10 == 3;
    let payload = |offset: i64| if is_bad(offset) { format!("\u{0}no JSON {offset}") } else { "{}".to_owned() };
    let own = |partition: i32, offset: i64| -> HeaderList {
        let number = format!("{partition}-{offset}");
        vec![header("trace", number.as_bytes()), ("none".to_owned(), None), header("trace", &[0, 0xff, 0x80])]
    };
    let records = (0..COUNT).flat_map(|offset| (0..2).map(move |partition| (partition, offset)));
    let records = records.map(|(partition, offset)| {
        let record = case.record(partition).key(format!("key-{offset}")).payload(payload(offset));
        let headers = own(partition, offset);
        let record = headers.into_iter().fold(record, |record, (name, value)| record.header(name, value));
        record.timestamp(TIME + offset)
    });
    broker().produce_all(records.collect::<Vec<_>>()).await.unwrap();

    let (letters, mut received) = mpsc::channel::<(DeadLetter, Vec<u8>)>(100);
    let builder = case.builder(definition).register(listener!(desk)).state(letters);
    let builder = builder.set("listeners.desk-for-dead-letters.topic", case.dead.as_str());
    let builder = builder.set("listeners.desk-for-dead-letters.group_id", unique("desk"));
    let builder = builder.set("listeners.desk-for-dead-letters.on_failure", "hold");
    let listeners = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();

    let mut stored = broker().read_topic(&case.dead).await.unwrap();
    assert_eq!(stored.len(), 2 * 30);
    for letter in &mut stored {
        let offset = TIME.abs_diff(letter.timestamp.unwrap());
        let offset = i64::try_from(offset).unwrap();
        assert!(is_bad(offset), "{letter:?}");
        assert_eq!(letter.key, Some(format!("key-{offset}").into_bytes()));
        assert_eq!(letter.payload, Some(payload(offset).into_bytes()));
        let (name, text) = letter.headers.pop().unwrap();
        assert_eq!(name, "kafka_dlt-exception-message");
        let text = String::from_utf8(text.unwrap()).unwrap();
        assert!(text.contains("Value"), "{text}");
        let mut expected = own(letter.partition, offset);
        expected.extend(springs_headers(&case, letter.partition, offset, TIME + offset, "decode"));
        assert_eq!(letter.headers, expected, "in the partition of the same number");
    }
    let accounts = case.accounts(broker(), &[]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters()), (2 * 270, 2 * 30));

    let mut seen = BTreeMap::new();
    for _ in 0..60 {
        let (letter, payload) = tokio::time::timeout(SOON, received.recv()).await.unwrap().unwrap();
        assert_eq!(letter.group_id(), Some(case.ground.group.as_str()));
        assert_eq!(letter.exception_class(), Some("decode"));
        assert_eq!(letter.timestamp(), Timestamp::CreateTime(TIME + letter.offset()));
        seen.insert((letter.origin().clone(), letter.offset()), payload);
    }
    for partition in 0..2 {
        for offset in (0..COUNT).filter(|offset| is_bad(*offset)) {
            assert_eq!(seen[&(case.place(partition), offset)], payload(offset).as_bytes());
        }
    }
    let found = listeners.status().listeners.into_iter().find(|one| one.id == "dead-letters").unwrap();
    assert_eq!((found.handled, found.dead_lettered, found.skipped), (2 * 270, 2 * 30, 0));
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_key_headers_and_time_are_untouched_and_springs_headers_are_added() {
    untouched(listener!(plain)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_the_listener_reads_headers() {
    untouched(listener!(with_headers)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_partition_is_missing_the_key_decides() {
    let case = Case::without_topic(3).await;
    broker().create_topic(&case.dead, 2).await.unwrap();
    let bad = (0..3).flat_map(|partition| {
        let case = &case;
        (0..4).map(move |number| case.record(partition).key(format!("key-{number}")).payload("no JSON"))
    });
    broker().produce_all(bad.collect::<Vec<_>>()).await.unwrap();
    let listeners = case.builder(listener!(plain)).start().await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let accounts = case.accounts(broker(), &[]).await;
    assert_eq!(accounts.dead_letters(), 12);
    let mut by_key: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    for letter in broker().read_topic(&case.dead).await.unwrap() {
        match origin(&letter) {
            (partition @ 0..2, _) => assert_eq!(letter.partition, partition),
            // Where Java's producer puts it: murmur2 over two partitions.
            _ => drop(by_key.insert(letter.key.unwrap(), letter.partition)),
        }
    }
    let expected = [(b"key-0".to_vec(), 1), (b"key-1".to_vec(), 0), (b"key-2".to_vec(), 0), (b"key-3".to_vec(), 1)];
    assert_eq!(by_key, BTreeMap::from(expected));
    let said = || async {
        let log = log_of(&case.dead);
        ensure!(log.iter().any(|line| line.message().contains("has fewer partitions")), "{log:?}");
        Ok(())
    };
    eventually(SOON, "it was said at the start", said).await.unwrap();
}

fn origin(letter: &Stored) -> Place {
    support::accounts::origin(letter).expect("every dead letter names its origin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_said_at_the_start_and_holds_the_partition_until_it_is_there() {
    let case = Case::without_topic(2).await;
    let listeners = case.builder(listener!(plain)).start().await.unwrap();
    status(&listeners, "the topic is missed before any record needs it", |status| {
        status.missing_dead_letter_topics == [case.dead.as_str()]
    })
    .await;
    let said = || async {
        let said = log_of(&case.dead);
        ensure!(said.iter().any(|line| line.message().contains("the dead letter topic is missing")), "{said:?}");
        Ok(())
    };
    eventually(SOON, "it is said in the log too", said).await.unwrap();

    let records = ["{}", "no JSON", "{}"].map(|payload| case.record(0).payload(payload));
    let others = (0..20).map(|_| case.record(1).payload("{}"));
    broker().produce_all(records.into_iter().chain(others)).await.unwrap();
    status(&listeners, "the record waits", |status| is_waiting(status, 1, "there is no dead letter topic")).await;
    case.diary
        .wait("the other partition goes on", |entries| {
            entries.iter().filter(|entry| entry.partition == 1).count() == 20
        })
        .await;
    let health = listeners.health();
    assert!(health.live.ok && health.started.ok, "a restart would not help: {health:?}");
    let stands_still =
        format!("listener `dead-letters` stands still at `{}-0`: dead letter waiting: ", case.ground.topic);
    let [reason] = &health.ready.reasons[..] else { panic!("{health:?}") };
    assert!(reason.starts_with(&stands_still) && reason.contains("there is no dead letter topic"), "{reason}");
    let committed = || async {
        let committed = broker().committed(&case.ground.group, &case.ground.topic).await?;
        ensure!(committed == BTreeMap::from([(0, 1), (1, 20)]), "{committed:?}");
        Ok(())
    };
    eventually(SOON, "all but the record is done", committed).await.unwrap();
    assert_eq!(case.diary.begun(0), [0], "nothing overtakes it");
    assert_eq!(broker().partitions(&case.dead).await.unwrap(), Vec::<i32>::new(), "nobody created the topic");

    broker().create_topic(&case.dead, 2).await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    status(&listeners, "nothing is missing", |status| status.missing_dead_letter_topics.is_empty()).await;
    assert!(listeners.health().ready.ok, "{:?}", listeners.health());
    listeners.shutdown().await.into_result().unwrap();
    let accounts = case.accounts(broker(), &[]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters(), accounts.repeated()), (22, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_ends_the_start_where_missing_topics_fail() {
    let case = Case::without_topic(1).await;
    let builder = case.builder(listener!(plain)).set("listener.missing_topics", "fail");
    let ended = tokio::time::timeout(SOON, builder.run()).await.unwrap();
    let Err(Error::Failed { reason, .. }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains(&case.dead), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_the_error_is_cut_before_a_record_is_too_large_and_then_it_waits() {
    const LIMIT: usize = 4_000;
    let case = Case::without_topic(1).await;
    broker().create_topic_with(&case.dead, 1, &[("max.message.bytes", &LIMIT.to_string())]).await.unwrap();
    let long = |length: usize| serde_json::to_vec(&"x".repeat(length)).unwrap();
    // The text of the error is the payload once more: the first fits with it, the second without it, the third never.
    let records = [100, 3_000, 5_000].map(|length| case.record(0).payload(long(length)));
    broker().produce_all(records.into_iter().chain([case.record(0).payload("{}")])).await.unwrap();
    let latch = Latch::closed();
    latch.open();
    // Or what is one letter over and over would fit ever so often.
    let builder = case.builder(listener!(picky)).state(latch).set("kafka.producer.compression", "none");
    let listeners = builder.start().await.unwrap();
    status(&listeners, "the third waits", |status| is_waiting(status, 2, "is too large for topic")).await;

    let stored = broker().read_topic(&case.dead).await.unwrap();
    let texts: Vec<_> = stored.iter().map(|letter| message(letter).map(<[u8]>::len)).collect();
    assert_eq!(texts, [Some(100), Some(256)], "the text of the second was cut");
    assert_eq!(stored[1].payload, Some(long(3_000)));

    let container = listeners.container("dead-letters").unwrap();
    let place = case.place(0);
    for (offset, answer) in [(1, HoldOutcome::OtherRecord { held: 2 }), (2, HoldOutcome::Applied { offset: 2 })] {
        let skip = || async {
            let outcome = container.skip_held(&place, offset).await;
            // Between two waits it is on its way, and not held.
            ensure!(outcome == answer, "{outcome:?}");
            Ok(())
        };
        eventually(SOON, "an operator is answered", skip).await.unwrap();
    }
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let accounts = case.accounts(broker(), &[(0, 2)]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters()), (1, 2));
}

fn message(letter: &Stored) -> Option<&[u8]> {
    let found = letter.headers.iter().find(|(name, _)| name == "kafka_dlt-exception-message")?;
    found.1.as_deref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_hold_is_published_when_an_operator_says_so() {
    let case = Case::new(1).await;
    let records = ["{}", "no JSON", "{}"].map(|payload| case.record(0).payload(payload).header("trace", Some("7")));
    broker().produce_all(records).await.unwrap();
    let builder = case.builder(listener!(plain)).set("listener.on_failure", "hold");
    let listeners = builder.set("listener.dead_letter.headers", "plain").start().await.unwrap();
    status(&listeners, "it is on hold", |status| {
        status.partitions.iter().any(|partition| partition.phase == Phase::Held)
    })
    .await;

    let (container, place) = (listeners.container("dead-letters").unwrap(), case.place(0));
    assert_eq!(container.dead_letter_held(&place, 0).await, HoldOutcome::OtherRecord { held: 1 });
    assert_eq!(container.dead_letter_held(&case.place(7), 1).await, HoldOutcome::NotAssigned);
    assert_eq!(container.dead_letter_held(&place, 1).await, HoldOutcome::Applied { offset: 1 });
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    assert_eq!(container.dead_letter_held(&place, 1).await, HoldOutcome::NotHeld);
    listeners.shutdown().await.into_result().unwrap();

    let accounts = case.accounts(broker(), &[]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters()), (2, 1));
    let stored = broker().read_topic(&case.dead).await.unwrap();
    let names: Vec<&str> = stored[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["trace", "dlt-original-topic", "dlt-original-partition"]);
    assert_eq!(stored[0].headers[2].1.as_deref(), Some(&b"0"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_the_record_waits_and_a_stop_does_not_wait_for_it() {
    let cluster = Cluster::start(1).await.unwrap();
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    let case = Case { dead: format!("{}-dlt", ground.topic), ground, diary: Diary::default() };
    for topic in [&case.ground.topic, &case.dead] {
        cluster.create_topic(topic, 1).await.unwrap();
    }
    let records = ["{}", "\"never\"", "{}"].map(|payload| case.record(0).payload(payload).header("trace", Some("7")));
    cluster.produce_all(records).await.unwrap();
    let latch = Latch::closed();
    let builder = || {
        let builder = case.builder_on(&cluster, listener!(picky)).state(latch.clone());
        builder.set("kafka.producer.delivery_timeout", "1s")
    };
    let listeners = builder().start().await.unwrap();
    status(&listeners, "the handler runs", |status| {
        status.partitions.iter().any(|one| one.phase == Phase::Running && one.committed == Some(1))
    })
    .await;
    cluster.stop(1).await.unwrap();
    latch.open();
    status(&listeners, "the record waits", |status| is_waiting(status, 1, "")).await;

    let began = Instant::now();
    let report = listeners.shutdown_within(Duration::from_secs(6)).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}: {report}", began.elapsed());
    assert!(!report.to_string().contains("still running"), "{report}");
    cluster.restart(1).await.unwrap();

    let listeners = builder().start().await.unwrap();
    cluster.wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON * 2).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let accounts = case.accounts(&cluster, &[]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters()), (2, 1));
    assert!(accounts.repeated() <= 1, "once more for the stop: {accounts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_repeats_one_dead_letter_at_most_and_loses_none() {
    const COUNT: usize = 1_000;
    let case = Case::new(1).await;
    let orders = (0..COUNT).map(|n| case.record(0).json(serde_json::json!({ "orderId": n.to_string() })));
    broker().produce_all(orders.collect::<Vec<_>>()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = MemberOptions::new(
        env!("CARGO_BIN_EXE_member"),
        broker(),
        &case.ground.topic,
        &case.ground.group,
        directory.path(),
    );
    let options = options
        .set("listener.session_timeout", "6s")
        .set("listener.on_failure", "dead_letter")
        .set("listener.retry.attempts", "1")
        .set("listener.ack_mode", "record")
        .set("listener.sync_commits", "true")
        .with(["--on", "*=fail"]);
    let letters = || async { Ok::<_, anyhow::Error>(broker().end_offsets(&case.dead).await?.values().sum::<i64>()) };
    for (name, count) in [("first", 100), ("second", 300), ("third", 500)] {
        let mut member = Member::spawn(name, &options).unwrap();
        let some = || async {
            let letters = letters().await?;
            ensure!(letters >= count, "{letters} dead letters");
            Ok(())
        };
        eventually(SOON, "it publishes dead letters", some).await.unwrap();
        // In the middle of it: between one that is acknowledged and its commit, as often as not.
        assert_eq!(member.kill().await.unwrap().signal, Some(9));
    }
    let mut last = Member::spawn("last", &options).unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON * 3).await.unwrap();
    assert!(last.stop(SOON).await.unwrap().is_clean(), "{}", last.words());

    let accounts = case.accounts(broker(), &[]).await;
    assert_eq!((accounts.handled(), accounts.dead_letters()), (0, COUNT));
    assert!(accounts.repeated() <= 3, "one per kill: {:?}", accounts.repeats());
    assert!(accounts.repeats().values().all(|times| *times <= 2), "{:?}", accounts.repeats());
    let context = broker().read_topic(&case.dead).await.context("read the dead letters");
    let longest = context.unwrap().iter().map(|letter| letter.headers.len()).max();
    assert_eq!(longest, Some(8), "headers do not grow");
}
