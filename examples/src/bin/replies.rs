//! Replies: a service that answers requests where each asks for it, and a till that asks it for prices.
//!
//! The second request is for something that nobody sells: it is answered with nothing. The third does not say where its
//! answer goes, so it is not handled and becomes a dead letter.
//!
//! `cargo run --bin replies`

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::{DeadLetter, Headers, State};
use kafka_listener::{ListenerRegistry, ProducerRecord, kafka_listener};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Would be `kafka-listener.toml`; it is here so that the example is one file.
const CONFIG: &str = r#"
[listener]
session_timeout = "6s"              # the embedded broker likes it short

[listeners.quote]
on_failure = "dead_letter"          # a request that cannot be answered
"#;

#[derive(Debug, Deserialize, Serialize)]
struct Request {
    product: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Quote {
    product: String,
    cents: u32,
}

type Paper = mpsc::Sender<String>;

/// Its record is done when the broker has the quote.
#[kafka_listener(topic = "quote-requests", group_id = "pricing", send_to = "{reply_topic}")]
async fn quote(request: Request) -> Option<Quote> {
    let cents = match request.product.as_str() {
        "tea" => 350,
        "cake" => 420,
        _ => return None,
    };
    Some(Quote { product: request.product, cents })
}

/// The other side: the correlation says which of its requests an answer is to.
#[kafka_listener(topic = "quotes-of-till-1", group_id = "till-1")]
async fn till(quote: Quote, headers: Headers, State(paper): State<Paper>) -> anyhow::Result<()> {
    let request = headers.get_str("kafka_correlationId")?.context("an answer to nothing")?;
    paper.send(format!("{request}: {} is {} cents", quote.product, quote.cents)).await?;
    Ok(())
}

#[kafka_listener(topic = "quote-requests-dlt", group_id = "desk")]
async fn desk(request: Request, letter: DeadLetter, State(paper): State<Paper>) -> anyhow::Result<()> {
    paper.send(format!("{} unanswered: {}", request.product, letter.exception_message().unwrap_or_default())).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let topics = ["quote-requests", "quote-requests-dlt", "quotes-of-till-1"];
    let kafka = topics.into_iter().fold(EmbeddedKafka::builder(), |kafka, topic| kafka.topic(topic, 1)).start()?;
    let (paper, mut lines) = mpsc::channel(16);
    let listeners = ListenerRegistry::builder()
        .config_str(CONFIG)
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .state(paper)
        .start()
        .await?;

    // What Spring's `ReplyingKafkaTemplate` sends.
    let ask = |id: &str, product: &str| {
        let request = Request { product: product.to_owned() };
        ProducerRecord::to("quote-requests").json(&request).header("kafka_correlationId", id)
    };
    let to_the_till = |request: ProducerRecord| {
        request.header("kafka_replyTopic", "quotes-of-till-1").header("kafka_replyPartition", 0_i32.to_be_bytes())
    };
    let requests = [
        to_the_till(ask("request 1", "tea")),
        to_the_till(ask("request 2", "moonlight")),
        ask("request 3", "cake"),
        to_the_till(ask("request 4", "cake")),
    ];
    for request in requests {
        listeners.producer().send(request).await?;
    }

    let mut seen: Vec<String> = Vec::new();
    for _ in 0..3 {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await?;
        seen.push(line.context("the listeners went away")?);
    }
    listeners.shutdown().await.into_result()?;
    seen.sort();
    writeln!(io::stdout(), "{}", seen.join("\n"))?;
    let replies: u64 = listeners.status().listeners.iter().map(|listener| listener.replies).sum();
    writeln!(io::stdout(), "{replies} replies")?;
    Ok(())
}
