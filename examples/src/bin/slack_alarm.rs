//! Alarms in Slack for message events, as a Spring user would write it.
//!
//! A container factory from the configuration instead of a bean, one listener per profile, and an injected service:
//!
//! ```java
//! @Profile("prod")
//! @KafkaListener(topics = "${app.message-event.topic}", groupId = "slack-alarm",
//!                containerFactory = "messageEventContainerFactory")
//! void postToSlack(MessageEvent event) { slackService.post(event.channel(), event.text()); }
//! ```
//!
//! `cargo run --bin slack_alarm` posts, `cargo run --bin slack_alarm -- dev` only prints.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, kafka_listener};
use kafka_listener_examples::send;
use serde::Deserialize;
use tokio::sync::mpsc;

/// Would be `kafka-listener.toml`; it is here so that the example is one file.
const CONFIG: &str = r#"
[container_factories.message-event]
concurrency = 2
retry = { attempts = 3, delay = "100ms" }
on_failure = "skip"             # an alarm that nobody can read is not worth stopping the others for

[app.message-event]
topic = "message-event"

[listener]
session_timeout = "6s"          # the embedded broker likes it short

[profiles.dev]
container_factories.message-event.concurrency = 1
"#;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageEvent {
    channel: String,
    text: String,
}

#[kafka_listener(
    topic = "${app.message-event.topic}",
    group_id = "slack-alarm",
    container_factory = "message-event",
    profiles = ["prod"]
)]
async fn post_to_slack(event: MessageEvent, State(slack): State<SlackService>) -> anyhow::Result<()> {
    slack.post(&event.channel, &event.text).await
}

#[kafka_listener(
    topic = "${app.message-event.topic}",
    group_id = "slack-alarm-${USER:-somebody}",
    container_factory = "message-event",
    profiles = ["dev"]
)]
async fn print_alarm(event: MessageEvent, State(slack): State<SlackService>) -> anyhow::Result<()> {
    slack.post("not posted", &format!("{}: {}", event.channel, event.text)).await
}

/// Would hold an HTTP client. This one hands what is posted to `main`.
#[derive(Clone, Debug)]
struct SlackService {
    posted: mpsc::Sender<String>,
}

impl SlackService {
    async fn post(&self, channel: &str, text: &str) -> anyhow::Result<()> {
        self.posted.send(format!("[{channel}] {text}")).await.context("post to Slack")
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let profile = std::env::args().nth(1).unwrap_or_else(|| "prod".to_owned());
    let kafka = EmbeddedKafka::builder().topic("message-event", 3).start()?;
    let events = [
        r##"{"channel":"#ops","text":"disk full"}"##,
        r##"{"channel":"#ops","te"##,
        r##"{"channel":"#shop","text":"payment provider is down"}"##,
        r##"{"channel":"#shop","text":"payment provider is back"}"##,
    ];
    send(kafka.bootstrap_servers(), "message-event", 0, &events)?;

    let (posted, mut inbox) = mpsc::channel(16);
    let listeners = ListenerRegistry::builder()
        .config_str(CONFIG)
        .profiles([profile])
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .state(SlackService { posted })
        .start()
        .await?;

    // The second event is broken: it is skipped, and the ones behind it arrive.
    for _ in 0..3 {
        let alarm = tokio::time::timeout(Duration::from_secs(30), inbox.recv()).await?;
        writeln!(io::stdout(), "{}", alarm.context("the listener went away")?)?;
    }
    listeners.shutdown().await.into_result()?;
    let skipped: u64 = listeners.status().listeners.iter().map(|listener| listener.skipped).sum();
    writeln!(io::stdout(), "skipped {skipped} that could not be read")?;
    Ok(())
}
