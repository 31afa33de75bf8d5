//! The notification service: tells the customer "order received" and the seller "new order".

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::kafka_listener;

use crate::ledger::Ledger;
use crate::order::Order;

#[kafka_listener(topic = "orders", group_id = "notification-service")]
async fn notify_customer(order: Order, State(mail): State<Mail>) -> anyhow::Result<()> {
    mail.send(&order.user_id, "order received").await?;
    mail.send("seller", "new order").await?;
    mail.ledger.enter(&order);
    Ok(())
}

/// A mail server that takes two milliseconds per mail, is busy now and then, or is down altogether.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    down: bool,
    calls: Arc<AtomicU64>,
    ledger: Ledger,
}

impl Mail {
    pub(crate) fn new(ledger: Ledger, down: bool) -> Self {
        Self { down, calls: Arc::default(), ledger }
    }

    async fn send(&self, recipient: &str, subject: &str) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        anyhow::ensure!(!self.down, "the mail server is down: cannot tell {recipient} \"{subject}\"");
        anyhow::ensure!(!call.is_multiple_of(401), "the mail server is busy: cannot tell {recipient} \"{subject}\"");
        Ok(())
    }
}
