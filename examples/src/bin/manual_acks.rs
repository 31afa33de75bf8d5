//! Acknowledgements by hand: a listener that gathers records and says that they are done when it has written them.
//!
//! The handler returns at once and gives its `Acknowledgment` away. With `async_acks` the next record does not wait for
//! it, so that a writer can put many into one transaction; the committed offset stays at the oldest record that is not
//! acknowledged. A record whose acknowledgement is lost comes again.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::State;
use kafka_listener::{AckOutcome, Acknowledgment, ListenerRegistry, RecordMetadata, kafka_listener};
use kafka_listener_examples::send;
use tokio::sync::mpsc;

/// A payment on its way into the database, and the right to say that it is there.
struct Entry {
    payment: u64,
    meta: RecordMetadata,
    ack: Acknowledgment,
}

#[kafka_listener(topic = "payments", group_id = "ledger", ack_mode = "manual", async_acks = true)]
async fn book(
    payment: u64,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(writer): State<mpsc::Sender<Entry>>,
) -> anyhow::Result<()> {
    // Where the writer is gone, the error counts and the acknowledgement comes too late.
    writer.send(Entry { payment, meta, ack }).await.context("the writer is gone")
}

/// Writes three payments at a time, as one transaction of a database would, and acknowledges them behind it.
async fn write(mut entries: mpsc::Receiver<Entry>, batches: usize) -> anyhow::Result<()> {
    for batch in 1..=batches {
        let mut gathered = Vec::new();
        while gathered.len() < 3 {
            let entry = entries.recv().await.context("the listener is gone")?;
            // The second payment is looked at by somebody first: not yet.
            if entry.meta.offset() == 1 && entry.meta.attempt() == 1 {
                entry.ack.nack(Duration::from_millis(200));
                continue;
            }
            gathered.push(entry);
        }
        let sum: u64 = gathered.iter().map(|entry| entry.payment).sum();
        let mut committed = Vec::new();
        for entry in gathered {
            // Awaited, the receipt tells the broker's answer; without that, only whether it came in time.
            committed.push((entry.meta.offset(), entry.ack.acknowledge()));
        }
        writeln!(io::stdout(), "transaction {batch} of {sum}: {:?}", offsets(&committed))?;
        if batch == batches {
            for (_, receipt) in committed {
                anyhow::ensure!(receipt.await == AckOutcome::Committed, "the partition went before the answer");
            }
        }
    }
    Ok(())
}

fn offsets<T>(of: &[(i64, T)]) -> Vec<i64> {
    let mut offsets: Vec<i64> = of.iter().map(|(offset, _)| *offset).collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let kafka = EmbeddedKafka::builder().topic("payments", 1).start()?;
    send(kafka.bootstrap_servers(), "payments", 0, &["10", "20", "30", "40", "50", "60"])?;

    let (writer, entries) = mpsc::channel::<Entry>(16);
    let writing = tokio::spawn(write(entries, 2));
    let listeners = ListenerRegistry::builder()
        .set("kafka.bootstrap_servers", kafka.bootstrap_servers())
        .set("listener.session_timeout", "6s")
        .state(writer)
        .start()
        .await?;
    tokio::time::timeout(Duration::from_secs(30), writing).await???;
    let status = listeners.status();
    let committed = status.listeners[0].partitions[0].committed;
    writeln!(io::stdout(), "committed up to {}", committed.context("nothing is committed")?)?;
    listeners.shutdown().await.into_result()?;
    Ok(())
}
