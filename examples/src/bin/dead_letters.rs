//! Dead letters and what becomes of them: a desk reads them, gives up what nobody can read, and writes the others back,
//! twice at most.
//!
//! Four payments: one goes through, one is no JSON, one meets a bank that is busy for a moment, one a card that is
//! blocked for good. The partition waits for none of them.
//!
//! `cargo run --bin dead_letters`

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::{DeadLetter, Headers, RawPayload, State};
use kafka_listener::{ListenerError, ListenerRegistry, Producer, ProducerRecord, kafka_listener};
use kafka_listener_examples::send;
use serde::Deserialize;
use tokio::sync::mpsc;

/// Would be `kafka-listener.toml`; it is here so that the example is one file.
const CONFIG: &str = r#"
[listener]
session_timeout = "6s"              # the embedded broker likes it short

[listeners.charge]
on_failure = "dead_letter"          # to `payments-dlt`

[listeners.desk]
on_failure = "hold"                 # here it ends: what the desk cannot handle waits for a person
"#;

/// Counts how often a record was written back. Any header of the record would do: dead letters keep them all.
const REPLAYS: &str = "replays";
const MOST_REPLAYS: u32 = 2;

#[derive(Debug, Deserialize)]
struct Payment {
    id: String,
    card: String,
}

#[kafka_listener(topic = "payments", group_id = "bank")]
async fn charge(
    payment: Payment,
    State(bank): State<Bank>,
    State(paper): State<mpsc::Sender<String>>,
) -> Result<(), ListenerError> {
    bank.charge(&payment.id, &payment.card)?;
    paper.send(format!("charged {}", payment.id)).await?;
    Ok(())
}

#[kafka_listener(topic = "payments-dlt", group_id = "desk")]
async fn desk(
    payload: RawPayload,
    headers: Headers,
    letter: DeadLetter,
    producer: Producer,
    State(paper): State<mpsc::Sender<String>>,
) -> anyhow::Result<()> {
    let replays = headers.get_str(REPLAYS)?.map_or(Ok(0), str::parse::<u32>)?;
    let class = letter.exception_class().unwrap_or("unknown");
    if class == "decode" || replays == MOST_REPLAYS {
        let (origin, offset) = (letter.origin(), letter.offset());
        paper.send(format!("given up {origin}@{offset} after {replays} replays: {class}")).await?;
        return Ok(());
    }
    let record = ProducerRecord::to(letter.origin().topic())
        .partition(letter.origin().partition())
        .payload(payload.as_bytes().unwrap_or_default())
        .header(REPLAYS, (replays + 1).to_string());
    producer.send(record).await?;
    Ok(())
}

/// Refuses blocked cards, and busy ones once.
#[derive(Clone, Debug, Default)]
struct Bank {
    calls: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Bank {
    fn charge(&self, id: &str, card: &str) -> Result<(), ListenerError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(id.to_owned()).or_default();
        *calls += 1;
        match card {
            "blocked" => Err(ListenerError::terminal("the card is blocked")),
            "busy" if *calls == 1 => Err(ListenerError::terminal("the bank is busy, try tomorrow")),
            _ => Ok(()),
        }
    }
}

/// What was written, once it is so many lines.
async fn wait_for(lines: &mut mpsc::Receiver<String>, count: usize) -> anyhow::Result<Vec<String>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await?;
        seen.push(line.context("the listeners went away")?);
    }
    Ok(seen)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let kafka = EmbeddedKafka::builder().topic("payments", 1).topic("payments-dlt", 1).start()?;
    let payments = [
        r#"{"id":"p1","card":"good"}"#,
        r#"{"id":"p2","ca"#,
        r#"{"id":"p3","card":"busy"}"#,
        r#"{"id":"p4","card":"blocked"}"#,
    ];
    send(kafka.bootstrap_servers(), "payments", 0, &payments)?;

    let (paper, mut lines) = mpsc::channel(16);
    let listeners = ListenerRegistry::builder()
        .config_str(CONFIG)
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .state(Bank::default())
        .state(paper)
        .start()
        .await?;
    let mut seen = wait_for(&mut lines, payments.len()).await?;
    listeners.shutdown().await.into_result()?;

    seen.sort();
    writeln!(io::stdout(), "{}", seen.join("\n"))?;
    let dead_lettered: u64 = listeners.status().listeners.iter().map(|listener| listener.dead_lettered).sum();
    // p2 and p3 once each, p4 three times.
    writeln!(io::stdout(), "{dead_lettered} dead letters")?;
    Ok(())
}
