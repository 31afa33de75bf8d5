//! Retry topics: a payment whose bank is busy waits in a topic of its own, and the ones behind it go through meanwhile.
//!
//! Four payments: the first meets a bank that is busy twice, the second a card that is blocked, the third a bank that never
//! has time. The fourth goes through before any of them is tried again.
//!
//! `cargo run --bin retry_topics`

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::{Attempt, DeadLetter, State};
use kafka_listener::{ListenerError, ListenerRegistry, kafka_listener};
use kafka_listener_examples::send;
use serde::Deserialize;
use tokio::sync::mpsc;

/// Would be `kafka-listener.toml`; it is here so that the example is one file.
const CONFIG: &str = r#"
[listener]
session_timeout = "6s"              # the embedded broker likes it short

[listeners.charge]
on_failure = "dead_letter"          # behind the last retry topic, and at once for what no retry can help
"#;

#[derive(Debug, Deserialize)]
struct Payment {
    id: String,
    card: String,
}

type Paper = mpsc::Sender<String>;

#[kafka_listener(topic = "payments", group_id = "bank", retry_topics = { delays = ["1s", "2s"] })]
async fn charge(payment: Payment, attempt: Attempt, State(paper): State<Paper>) -> Result<(), ListenerError> {
    let Payment { id, card } = payment;
    match card.as_str() {
        "blocked" => return Err(ListenerError::terminal("the card is blocked")),
        "never" => return Err("the bank has no time".into()),
        "busy" if !attempt.is_last() => return Err("the bank is busy".into()),
        _ => {}
    }
    paper.send(format!("charged {id}, delivery {attempt}")).await?;
    Ok(())
}

#[kafka_listener(topic = "payments-dlt", group_id = "desk")]
async fn desk(payment: Payment, letter: DeadLetter, State(paper): State<Paper>) -> anyhow::Result<()> {
    let (origin, offset, error) = (letter.origin(), letter.offset(), letter.exception_message());
    paper.send(format!("given up {}, {origin}@{offset}: {}", payment.id, error.unwrap_or_default())).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let topics = ["payments", "payments-retry-1000", "payments-retry-2000", "payments-dlt"];
    let kafka = topics.into_iter().fold(EmbeddedKafka::builder(), |kafka, topic| kafka.topic(topic, 1)).start()?;
    let (paper, mut lines) = mpsc::channel(16);
    let listeners = ListenerRegistry::builder()
        .config_str(CONFIG)
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .state(paper)
        .start()
        .await?;
    // The first join takes the embedded broker three seconds; the delays are to be seen without it.
    listeners.wait_until_assigned(Duration::from_secs(60)).await?;
    let payments = [
        r#"{"id":"p1","card":"busy"}"#,
        r#"{"id":"p2","card":"blocked"}"#,
        r#"{"id":"p3","card":"never"}"#,
        r#"{"id":"p4","card":"good"}"#,
    ];
    send(kafka.bootstrap_servers(), "payments", 0, &payments)?;

    let mut seen: Vec<String> = Vec::new();
    for _ in &payments {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await?;
        seen.push(line.context("the listeners went away")?);
    }
    listeners.shutdown().await.into_result()?;
    // What is done in the first and in the last round, each in the order of its listener.
    seen[..2].sort();
    seen[2..].sort();
    writeln!(io::stdout(), "{}", seen.join("\n"))?;
    let put_off: u64 = listeners.status().listeners.iter().map(|listener| listener.put_off).sum();
    writeln!(io::stdout(), "put off {put_off} times")?;
    Ok(())
}
