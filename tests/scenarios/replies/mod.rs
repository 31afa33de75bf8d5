//! Replies: what a listener returns is published, and its record is done when the broker has it.

mod faults;

use std::collections::BTreeMap;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::status::ListenerStatus;
use kafka_listener::{
    Error, HoldOutcome, ListenerDefinition, ListenerError, ListenerRegistry, ListenerRegistryBuilder, Phase,
    RecordMetadata, Reply, TopicPartition, kafka_listener, listener,
};
use serde_json::{Value, json};
use support::kafka::Stored;
use support::{Kafka, Record, broker, eventually, unique};

use crate::common::{Diary, Ground, SOON};

/// Answers with what it is told to: nothing, so many letters, an error the first time.
#[kafka_listener(id = "answers", send_to = "${app.replies}")]
async fn answer(
    order: Value,
    meta: RecordMetadata,
    State(diary): State<Diary>,
) -> Result<Option<Value>, ListenerError> {
    drop(diary.begin(&meta));
    if order["fails_at_first"] == true && meta.attempt() == 1 {
        return Err(ListenerError::retryable("the first time"));
    }
    if let Some(letters) = order["letters"].as_u64() {
        return Ok(Some(Value::from("x".repeat(letters.try_into().unwrap()))));
    }
    Ok((order["silent"] != true).then(|| json!({ "to": order["n"] })))
}

/// Says in its type alone that it replies.
#[kafka_listener(id = "answers")]
async fn answer_in_several(order: Value) -> anyhow::Result<Vec<Reply>> {
    let own = Reply::json(&order).key("own").header("kafka_correlationId", "own").header("line", "1");
    Ok(vec![own, Reply::bytes(*b"\0\xff").without_key().null_header("line").partition(1), Reply::null()])
}

/// A value that is no JSON: its keys are no strings.
#[kafka_listener(id = "answers", send_to = "${app.replies}")]
fn answer_with_no_json(order: Value) -> BTreeMap<Vec<u8>, u8> {
    BTreeMap::from([(order.to_string().into_bytes(), 1)])
}

#[kafka_listener(id = "answers")]
async fn silent(_order: Value) {}

/// A topic, and the one that replies to its records go to.
struct Case {
    ground: Ground,
    replies: String,
    diary: Diary,
}

impl Case {
    async fn new(partitions: i32) -> Self {
        let case = Self::without_topic(partitions).await;
        broker().create_topic(&case.replies, partitions).await.unwrap();
        case
    }

    /// The same without the topic for replies.
    async fn without_topic(partitions: i32) -> Self {
        let ground = Ground::new(partitions).await;
        Self { replies: format!("{}-replies", ground.topic), ground, diary: Diary::default() }
    }

    fn builder(&self, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        self.builder_on(broker(), definition)
    }

    fn builder_on(&self, kafka: &Kafka, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        let builder = self.ground.registry_on(kafka).register(definition).state(self.diary.clone());
        builder.set("app.replies", self.replies.as_str()).set("listener.retry.delay", "1ms")
    }

    fn record(&self, partition: i32) -> Record {
        Record::to(&self.ground.topic).partition(partition)
    }

    async fn dead_letter_topic(&self) -> String {
        let dead = format!("{}-dlt", self.ground.topic);
        broker().create_topic(&dead, 1).await.unwrap();
        dead
    }

    /// Handles everything, and gives what is replied to it.
    async fn all_replies(&self, builder: ListenerRegistryBuilder) -> Vec<Stored> {
        let listeners = builder.start().await.unwrap();
        broker().wait_for_commits_to_end(&self.ground.group, &self.ground.topic, SOON).await.unwrap();
        listeners.shutdown().await.into_result().unwrap();
        broker().read_topic(&self.replies).await.unwrap()
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
        matches!(partition.phase, Phase::ReplyWaiting | Phase::Replying)
            && error.starts_with("reply waiting: ")
            && error.contains(because)
    })
}

type HeaderList = Vec<(String, Option<Vec<u8>>)>;

fn header(name: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.to_vec()))
}

fn texts(replies: &[Stored]) -> Vec<String> {
    replies.iter().map(|reply| String::from_utf8(reply.payload.clone().unwrap()).unwrap()).collect()
}

/// Class and text of the error of each dead letter.
async fn errors(dead: &str) -> Vec<(String, String)> {
    let letters = broker().read_topic(dead).await.unwrap();
    let value = |letter: &Stored, name: &str| {
        let found = letter.headers.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.clone());
        String::from_utf8(found.unwrap_or_default()).unwrap()
    };
    let error = |letter| (value(letter, "kafka_dlt-exception-fqcn"), value(letter, "kafka_dlt-exception-message"));
    letters.iter().map(error).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_has_the_key_and_the_correlation_of_its_record_and_goes_where_that_asks() {
    let case = Case::new(3).await;
    let correlation: Vec<u8> = (0..16).map(|n| n * 17).collect();
    let request = case.record(0).key("k").payload(r#"{"n":1}"#).header("trace", Some("7"));
    let request = request.header("kafka_correlationId", Some("an earlier one"));
    let request = request.header("kafka_correlationId", Some(correlation.clone()));
    let request = request.header("kafka_replyTopic", Some(case.replies.as_str()));
    let request = request.header("kafka_replyPartition", Some(2_i32.to_be_bytes()));
    // It asks for a partition of another topic.
    let elsewhere = case.record(1).payload(r#"{"n":2}"#).header("kafka_replyTopic", Some("elsewhere"));
    let elsewhere = elsewhere.header("kafka_replyPartition", Some(77_i32.to_be_bytes()));
    broker().produce_all([request, elsewhere]).await.unwrap();
    let stored = case.all_replies(case.builder(listener!(answer))).await;
    let reply = |to: &str| stored.iter().find(|reply| reply.payload.as_deref() == Some(to.as_bytes())).unwrap();
    let (first, second) = (reply(r#"{"to":1}"#), reply(r#"{"to":2}"#));
    assert_eq!((stored.len(), first.partition, first.key.as_deref()), (2, 2, Some(&b"k"[..])));
    assert_eq!(first.headers, [header("kafka_correlationId", &correlation)]);
    assert_eq!((&second.key, &second.headers), (&None, &HeaderList::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_keep_the_order_of_their_records_and_are_counted() {
    const COUNT: u64 = 300;
    let case = Case::new(1).await;
    broker().produce_all((0..COUNT).map(|n| case.record(0).json(json!({ "n": n })))).await.unwrap();
    let listeners = case.builder(listener!(answer)).start().await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    status(&listeners, "they are counted", |status| (status.replies, status.handled) == (COUNT, COUNT)).await;
    listeners.shutdown().await.into_result().unwrap();
    let expected: Vec<_> = (0..COUNT).map(|n| format!(r#"{{"to":{n}}}"#)).collect();
    assert_eq!(texts(&broker().read_topic(&case.replies).await.unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_returns_replies_says_all_of_them_and_the_configuration_where() {
    let case = Case::new(2).await;
    let request = case.record(0).key("theirs").payload("7").header("kafka_correlationId", Some("theirs"));
    broker().produce(request.header("kafka_replyPartition", Some(0_i32.to_be_bytes()))).await.unwrap();
    let builder = case.builder(listener!(answer_in_several)).set("listener.send_to", "{topic}-replies");
    let stored = case.all_replies(builder).await;
    let seen: Vec<_> = stored.iter().map(|one| (one.partition, one.key.clone(), one.payload.clone())).collect();
    let bytes = |bytes: &[u8]| Some(bytes.to_vec());
    let expected = [(0, bytes(b"own"), bytes(b"7")), (0, bytes(b"theirs"), None), (1, None, bytes(b"\0\xff"))];
    assert_eq!(seen, expected);
    assert_eq!(stored[0].headers, [header("kafka_correlationId", b"own"), header("line", b"1")]);
    assert_eq!(stored[1].headers, [header("kafka_correlationId", b"theirs")]);
    assert_eq!(stored[2].headers, [("line".to_owned(), None), header("kafka_correlationId", b"theirs")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_for_none_and_once_for_a_record_that_failed_at_first() {
    let case = Case::new(1).await;
    let orders = [json!({ "silent": true }), json!({ "n": 1, "fails_at_first": true }), json!({ "silent": true })];
    broker().produce_all(orders.map(|order| case.record(0).json(order))).await.unwrap();
    let stored = case.all_replies(case.builder(listener!(answer))).await;
    assert_eq!(texts(&stored), [r#"{"to":1}"#]);
    assert_eq!(case.diary.begun(0), [0, 1, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_that_commits_by_itself_replies_once_in_the_calm() {
    for mode in ["record", "time", "count", "at_most_once"] {
        let case = Case::new(1).await;
        broker().produce_all((0..20).map(|n| case.record(0).json(json!({ "n": n })))).await.unwrap();
        let builder = case.builder(listener!(answer)).set("listener.ack_mode", mode);
        let builder = match mode {
            "time" => builder.set("listener.ack_time", "50ms"),
            "at_most_once" => case
                .ground
                .registry()
                .register(listener!(answer))
                .state(case.diary.clone())
                .set("app.replies", case.replies.as_str())
                .set("listener.ack_mode", mode),
            _ => builder,
        };
        let expected: Vec<_> = (0..20).map(|n| format!(r#"{{"to":{n}}}"#)).collect();
        let listeners = builder.start().await.unwrap();
        status(&listeners, "all are replied to", |status| status.replies == 20).await;
        broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
        listeners.shutdown().await.into_result().unwrap();
        assert_eq!(texts(&broker().read_topic(&case.replies).await.unwrap()), expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requester_is_answered_where_it_asks_and_a_request_that_cannot_be_answered_is_not_handled() {
    let case = Case::new(2).await;
    let dead = case.dead_letter_topic().await;
    let request = |n: u8| {
        let id = vec![n; 16];
        case.record(0).json(json!({ "n": n })).header("kafka_correlationId", Some(id))
    };
    let to = |n: u8, topic: &str, partition: &[u8]| {
        request(n).header("kafka_replyTopic", Some(topic)).header("kafka_replyPartition", Some(partition.to_vec()))
    };
    let (replies, partition) = (case.replies.as_str(), |number: i32| number.to_be_bytes());
    let nowhere = unique("nowhere");
    let records = [
        to(0, replies, &partition(1)),
        request(1),
        to(2, &case.ground.topic, &partition(0)),
        to(3, "no topic", &partition(0)),
        to(4, replies, b"1"),
        to(5, replies, &partition(2)),
        to(6, &nowhere, &partition(0)),
        to(7, replies, &partition(0)),
        request(8).header("kafka_replyTopic", Some(replies)),
    ];
    broker().produce_all(records).await.unwrap();
    let builder = case.builder(listener!(answer)).set("listeners.answers.send_to", "{reply_topic}");
    let stored = case.all_replies(builder.set("listener.on_failure", "dead_letter")).await;

    let id = |n: u8| [header("kafka_correlationId", &[n; 16])];
    let first = stored.iter().find(|one| one.payload.as_deref() == Some(br#"{"to":0}"#)).unwrap();
    let second = stored.iter().find(|one| one.payload.as_deref() == Some(br#"{"to":7}"#)).unwrap();
    assert_eq!((stored.len(), first.partition, second.partition), (3, 1, 0));
    assert!(first.headers == id(0) && second.headers == id(7), "{stored:?}");
    let errors = errors(&dead).await;
    let reasons = [
        "has no header `kafka_replyTopic`",
        "which the listener itself reads",
        "not the name of a topic",
        "is not a partition",
        "has no partition 2",
        nowhere.as_str(),
    ];
    assert_eq!(errors.len(), reasons.len(), "{errors:?}");
    for ((class, text), reason) in errors.iter().zip(reasons) {
        assert!(class == "terminal" && text.contains(reason), "{class}: {text}; {reason}");
    }
    let handled = case.diary.begun(0);
    assert_eq!(handled, [0, 5, 6, 7, 8], "what the headers alone show is found before the record is handled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_too_large_or_no_json_fails_its_record_for_good() {
    let case = Case::without_topic(1).await;
    let dead = case.dead_letter_topic().await;
    broker().create_topic_with(&case.replies, 1, &[("max.message.bytes", "4000")]).await.unwrap();
    let orders = [json!({ "letters": 100 }), json!({ "letters": 6000 }), json!({ "letters": 200 })];
    broker().produce_all(orders.map(|order| case.record(0).json(order))).await.unwrap();
    let builder = case.builder(listener!(answer)).set("listener.on_failure", "dead_letter");
    let stored = case.all_replies(builder.set("kafka.producer.compression", "none")).await;
    assert_eq!(texts(&stored).iter().map(String::len).collect::<Vec<_>>(), [102, 202]);
    let builder = case.builder(listener!(answer_with_no_json)).set("listener.on_failure", "dead_letter");
    broker().produce(case.record(0).payload("7")).await.unwrap();
    assert_eq!(case.all_replies(builder).await.len(), 2);
    let errors = errors(&dead).await;
    assert_eq!(errors.iter().map(|(class, _)| class.as_str()).collect::<Vec<_>>(), ["too_large", "terminal"]);
    assert!(errors[0].1.contains("is too large for topic"), "{errors:?}");
    assert!(errors[1].1.contains("the reply does not serialize"), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_reply_topic_holds_the_partition_loudly_until_it_is_there() {
    let case = Case::without_topic(1).await;
    broker().produce_all((0..3).map(|n| case.record(0).json(json!({ "n": n })))).await.unwrap();
    let listeners = case.builder(listener!(answer)).start().await.unwrap();
    status(&listeners, "it is found at start", |status| status.missing_reply_topics == [case.replies.as_str()]).await;
    status(&listeners, "the first waits", |status| is_waiting(status, 0, "there is no reply topic")).await;
    let ready = listeners.health().ready;
    assert!(!ready.ok && ready.reasons.iter().any(|reason| reason.contains("reply waiting")), "{ready:?}");
    assert_eq!(broker().committed(&case.ground.group, &case.ground.topic).await.unwrap(), BTreeMap::new());

    let container = listeners.container("answers").unwrap();
    let place = TopicPartition::new(case.ground.topic.as_str(), 0);
    let skip = || async {
        let outcome = container.skip_held(&place, 0).await;
        // Between two waits it is on its way, and not held.
        ensure!(outcome == HoldOutcome::Applied { offset: 0 }, "{outcome:?}");
        Ok(())
    };
    eventually(SOON, "an operator goes past the first", skip).await.unwrap();
    status(&listeners, "the second waits", |status| is_waiting(status, 1, "there is no reply topic")).await;
    broker().create_topic(&case.replies, 1).await.unwrap();
    broker().wait_for_commits_to_end(&case.ground.group, &case.ground.topic, SOON).await.unwrap();
    status(&listeners, "nothing is missing", |status| status.missing_reply_topics.is_empty()).await;
    status(&listeners, "counted", |status| (status.replies, status.skipped) == (2, 1)).await;
    assert!(listeners.health().ready.ok);
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(texts(&broker().read_topic(&case.replies).await.unwrap()), [r#"{"to":1}"#, r#"{"to":2}"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_reply_topic_ends_the_start_where_missing_topics_fail() {
    let case = Case::without_topic(1).await;
    let builder = case.builder(listener!(answer)).set("listener.missing_topics", "fail");
    let ended = tokio::time::timeout(SOON, builder.run()).await.unwrap();
    let Err(Error::Failed { reason, .. }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains(&case.replies), "{reason}");
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused_at_start() {
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    let case = Case { replies: format!("{}-replies", ground.topic), ground, diary: Diary::default() };
    let own = case.ground.topic.as_str();
    let builder = |definition, (path, value): (&str, &str)| case.builder(definition).set(path, value);
    let refused = [
        (builder(listener!(silent), ("listeners.answers.send_to", "replies")), "returns nothing that could be sent"),
        (builder(listener!(answer_in_several), ("listener.missing_topics", "wait")), "has no `send_to`"),
        (builder(listener!(answer), ("listeners.answers.send_to", own)), "the listener reads that topic itself"),
        (builder(listener!(answer), ("listeners.answers.send_to", "{topik}")), "is not the name of a topic"),
        (builder(listener!(answer), ("kafka.producer.acks", "1")), "replies need a producer that loses nothing"),
    ];
    for (builder, reason) in refused {
        let error = format!("{:?}", builder.start().await.unwrap_err());
        assert!(error.contains(reason), "{error}; {reason}");
    }
}
