//! A table in memory that is whole before anything needs it.
//!
//! `load_prices` reads all prices that are there and completes; it is in no group, so every process reads all of them.
//! `price` starts then and keeps the table up to date, and `sell` starts too: it never meets a product whose price is
//! not loaded yet. On a real cluster the topic of prices would be compacted.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::embedded::EmbeddedKafka;
use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, kafka_listener};
use kafka_listener_examples::send;
use serde::Deserialize;
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Price {
    product: String,
    price: u64,
}

#[derive(Debug, Deserialize)]
struct Order {
    product: String,
    quantity: u64,
}

#[kafka_listener(partitions = [("prices", "*")], until = "end", until_timeout = "30s")]
async fn load_prices(price: Price, State(prices): State<Prices>) {
    prices.set(price);
}

/// What comes behind the end that `load_prices` reads to. It begins a little before it: a price that is set twice is the
/// same price.
#[kafka_listener(topic = "prices", partitions = "*", initial_offset = "end-10", start_after = ["load_prices"])]
async fn price(price: Price, State(prices): State<Prices>) {
    prices.set(price);
}

#[kafka_listener(topic = "orders", group_id = "shop", start_after = ["load_prices"])]
async fn sell(
    order: Order,
    State(prices): State<Prices>,
    State(till): State<mpsc::Sender<String>>,
) -> anyhow::Result<()> {
    let price = prices.of(&order.product).with_context(|| format!("no price for {}", order.product))?;
    till.send(format!("{} {} for {}", order.quantity, order.product, order.quantity * price)).await?;
    Ok(())
}

/// The table.
#[derive(Clone, Debug, Default)]
struct Prices(Arc<Mutex<HashMap<String, u64>>>);

impl Prices {
    fn set(&self, price: Price) {
        self.lock().insert(price.product, price.price);
    }

    fn of(&self, product: &str) -> Option<u64> {
        self.lock().get(product).copied()
    }

    /// One insert leaves a whole table behind, so that another thread's panic does not matter.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let kafka = EmbeddedKafka::builder().topic("prices", 2).topic("orders", 1).start()?;
    let servers = kafka.bootstrap_servers();
    // The orders are there first.
    send(servers, "orders", 0, &[r#"{"product":"tea","quantity":2}"#, r#"{"product":"cup","quantity":3}"#])?;
    send(servers, "prices", 0, &[r#"{"product":"tea","price":3}"#, r#"{"product":"tea","price":4}"#])?;
    send(servers, "prices", 1, &[r#"{"product":"cup","price":11}"#])?;

    let (till, mut sold) = mpsc::channel(16);
    let listeners = ListenerRegistry::builder()
        .set("kafka.bootstrap_servers", servers)
        .set("listeners.sell.session_timeout", "6s")
        .state(Prices::default())
        .state(till)
        .start()
        .await?;
    listeners.wait_until_assigned(DEADLINE).await?;
    for _ in 0..2 {
        let line: Option<String> = tokio::time::timeout(DEADLINE, sold.recv()).await?;
        writeln!(io::stdout(), "sold {}", line.context("the listener went away")?)?;
    }
    let report = listeners.shutdown().await;
    writeln!(io::stdout(), "{report}")?;
    report.into_result()?;
    Ok(())
}
