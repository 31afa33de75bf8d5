//! Listeners by name instead of by discovery.
//!
//! Discovery takes every listener that is linked in. This program has two and names the one it runs: for several
//! programs from one code base, for tests, and where a linker drops what nobody names.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::{ListenerRegistry, listener};
use kafka_listener_examples::send;
use tokio::sync::mpsc;

/// Would be a crate of its own.
mod handlers {
    use kafka_listener::extract::{RecordMetadata, State};
    use kafka_listener::kafka_listener;
    use tokio::sync::mpsc;

    #[kafka_listener(topic = "payments", group_id = "audit")]
    pub(crate) async fn audit(
        payment: u64,
        meta: RecordMetadata,
        State(log): State<mpsc::Sender<String>>,
    ) -> anyhow::Result<()> {
        log.send(format!("{meta} {payment}")).await?;
        Ok(())
    }

    #[kafka_listener(topic = "payments", group_id = "fraud")]
    pub(crate) async fn detect_fraud(_payment: u64, State(log): State<mpsc::Sender<String>>) -> anyhow::Result<()> {
        log.send("detect_fraud must not run".to_owned()).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let kafka = EmbeddedKafka::builder().topic("payments", 1).start()?;
    send(kafka.bootstrap_servers(), "payments", 0, &["100", "2500", "70"])?;

    let (log, mut audited) = mpsc::channel::<String>(16);
    let listeners = ListenerRegistry::builder()
        .without_discovery()
        .register(listener!(handlers::audit))
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .set("listener.session_timeout", "6s")
        .state(log)
        .start()
        .await?;
    for container in listeners.containers() {
        writeln!(io::stdout(), "running {}", container.id())?;
    }
    for _ in 0..3 {
        let line = tokio::time::timeout(Duration::from_secs(30), audited.recv()).await?;
        writeln!(io::stdout(), "{}", line.context("the listener went away")?)?;
    }
    listeners.shutdown().await.into_result()?;
    Ok(())
}
