//! Payloads that are not JSON: by a named codec, by a type of the user's, and what is said of bytes that do not fit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use kafka_listener::codec::{Decode, TypeIdJson, TypeIds};
use kafka_listener::extract::{FromRecord as _, RawPayload, State};
use kafka_listener::{ConsumerRecord, Phase, RecordContext, RecordMetadata, kafka_listener, listener};
use serde::Deserialize;
use support::{Record, broker, eventually};

use crate::common::{Ground, SOON};

/// What listeners took, each as text.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>);

impl Taken {
    fn note(&self, listener: &'static str, payload: String) {
        self.0.lock().unwrap().entry(listener).or_default().push(payload);
    }

    fn of(&self, listener: &str) -> Vec<String> {
        self.0.lock().unwrap().get(listener).cloned().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Blob(Vec<u8>);

/// Decodes `key=value`, with a separator that is a state of the registry.
struct Pair;

#[derive(Clone)]
struct Separator(char);

impl Decode<(String, String)> for Pair {
    type Error = anyhow::Error;

    fn requirements(requirements: &mut kafka_listener::extract::Requirements) {
        requirements.state::<Separator>();
    }

    fn decode(payload: &[u8], record: RecordContext<'_>) -> anyhow::Result<(String, String)> {
        let State(Separator(separator)) = State::from_record(record)?;
        let (key, value) = str::from_utf8(payload)?.split_once(separator).context("there is no separator")?;
        Ok((key.to_owned(), value.to_owned()))
    }
}

#[derive(Debug, Deserialize)]
enum Event {
    Placed {
        #[expect(dead_code, reason = "what `Debug` shows of it is compared")]
        id: u32,
    },
    Cancelled,
}

impl TypeIds for Event {
    const TYPE_IDS: &'static [(&'static str, &'static str)] =
        &[("com.shop.OrderPlaced", "Placed"), ("com.shop.OrderCancelled", "Cancelled")];
}

#[kafka_listener(id = "codecs-text", container_factory = "text")]
async fn text(name: Option<String>, State(taken): State<Taken>) {
    taken.note("text", format!("{name:?}"));
}

#[kafka_listener(id = "codecs-bytes", codec = "bytes")]
async fn bytes(Blob(bytes): Blob, State(taken): State<Taken>) {
    taken.note("bytes", format!("{bytes:?}"));
}

#[kafka_listener(id = "codecs-raw", codec = "string")]
async fn raw(payload: RawPayload, State(taken): State<Taken>) {
    taken.note("raw", format!("{:?}", payload.as_bytes()));
}

#[kafka_listener(id = "codecs-pair", codec = Pair)]
async fn pair(pair: ConsumerRecord<Option<(String, String)>>, State(taken): State<Taken>) {
    taken.note("pair", format!("{:?}", pair.payload()));
}

#[kafka_listener(id = "codecs-event", codec = TypeIdJson)]
async fn event(event: Event, State(taken): State<Taken>) {
    taken.note("event", format!("{event:?}"));
}

#[kafka_listener(id = "codecs-order")]
async fn order(_order: BTreeMap<String, u32>, _meta: RecordMetadata) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_decodes_as_its_codec_says() {
    let ground = Ground::new(1).await;
    let record = || Record::to(&ground.topic);
    broker().produce_all([record().payload("a=1"), record().payload("b=\u{e4}"), record()]).await.unwrap();
    let events = Ground::new(1).await;
    let event_of = |id: &str| Record::to(&events.topic).header("__TypeId__", Some(id));
    let all = [
        event_of("com.shop.OrderPlaced").payload(r#"{"id":7}"#),
        event_of("java.lang.Runtime").payload("{}"),
        event_of("com.shop.OrderCancelled").payload("{}"),
    ];
    broker().produce_all(all).await.unwrap();

    let taken = Taken::default();
    let builder = ground.registry().state(taken.clone()).state(Separator('='));
    let builder = builder.register(listener!(text)).register(listener!(bytes)).register(listener!(raw));
    let builder = builder.register(listener!(pair)).register(listener!(event));
    let builder = builder.set("container_factories.text.codec", "string").set("listener.on_failure.decode", "skip");
    let builder = builder.set("listeners.codecs-event.topic", events.topic.as_str());
    let group = |name: &str| format!("{}-{name}", ground.group);
    let names = ["text", "bytes", "raw", "pair", "event"];
    let builder = names
        .iter()
        .fold(builder, |builder, name| builder.set(format!("listeners.codecs-{name}.group_id"), group(name)));
    let listeners = builder.start().await.unwrap();
    for name in names {
        let topic = if name == "event" { &events.topic } else { &ground.topic };
        broker().wait_for_commits_to_end(&group(name), topic, SOON).await.unwrap();
    }
    let skipped: BTreeMap<String, u64> =
        listeners.status().listeners.into_iter().map(|listener| (listener.id, listener.skipped)).collect();
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(taken.of("text"), [r#"Some("a=1")"#, r#"Some("b=ä")"#, "None"]);
    assert_eq!(taken.of("bytes"), ["[97, 61, 49]", "[98, 61, 195, 164]"], "a tombstone is no bytes");
    assert_eq!(taken.of("raw"), ["Some([97, 61, 49])", "Some([98, 61, 195, 164])", "None"]);
    assert_eq!(taken.of("pair"), [r#"Some(("a", "1"))"#, r#"Some(("b", "ä"))"#, "None"]);
    assert_eq!(taken.of("event"), ["Placed { id: 7 }", "Cancelled"]);
    let skipped: Vec<(&str, u64)> = skipped.iter().map(|(id, count)| (id.as_str(), *count)).collect();
    let expected =
        [("codecs-bytes", 1), ("codecs-event", 1), ("codecs-pair", 0), ("codecs-raw", 0), ("codecs-text", 0)];
    assert_eq!(skipped, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_do_not_fit_are_told_by_what_they_look_like() {
    let cases: [(&[u8], &str); 6] = [
        (b"order-1", "plain text"),
        (b"\0\0\0\0\x07{\"a\":1}", "JSON behind the magic byte of a schema registry (schema id 7)"),
        (b"\0\0\0\0\x07\x02\x06abc", "Avro or Protobuf behind the magic byte"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
    ];
    let ground = Ground::new(i32::try_from(cases.len()).unwrap()).await;
    let records = cases
        .iter()
        .zip(0..)
        .map(|((payload, _), partition)| Record::to(&ground.topic).partition(partition).payload(*payload));
    broker().produce_all(records).await.unwrap();
    let listeners = ground.registry().register(listener!(order)).start().await.unwrap();
    let held = || async {
        let status = listeners.status();
        let partitions = &status.listeners[0].partitions;
        ensure!(partitions.len() == cases.len(), "{status}");
        for (partition, (_, looks)) in partitions.iter().zip(cases) {
            ensure!(partition.phase == Phase::Held, "{status}");
            let error = partition.blocking.as_ref().and_then(|record| record.error.as_deref()).unwrap_or_default();
            ensure!(error.contains(looks), "{error}, not {looks}");
        }
        Ok(())
    };
    eventually(SOON, "each is on hold and says what it looks like", held).await.unwrap();
    listeners.shutdown().await;
}
