//! The order service: the order awaits its payment, and the payment is requested.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use kafka_listener::extract::State;
use kafka_listener::kafka_listener;

use crate::ledger::{Ledger, lock};
use crate::order::Order;

#[kafka_listener(topic = "orders", group_id = "order-service", concurrency = 3)]
async fn request_payment(order: Order, State(payments): State<Payments>) -> anyhow::Result<()> {
    payments.set_status(&order, OrderStatus::AwaitingPayment);
    payments.request(&order).await.with_context(|| format!("request the payment of `{}`", order.order_id))?;
    payments.set_status(&order, OrderStatus::PaymentRequested);
    payments.ledger.enter(&order);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderStatus {
    AwaitingPayment,
    PaymentRequested,
}

/// The orders, and a payment provider that takes a millisecond and times out now and then.
#[derive(Clone, Debug)]
pub(crate) struct Payments {
    statuses: Arc<Mutex<HashMap<String, OrderStatus>>>,
    calls: Arc<AtomicU64>,
    ledger: Ledger,
}

impl Payments {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { statuses: Arc::default(), calls: Arc::default(), ledger }
    }

    /// Overwrites: after a crash an order may come twice, and ends up the same.
    fn set_status(&self, order: &Order, status: OrderStatus) {
        lock(&self.statuses).insert(order.order_id.clone(), status);
    }

    async fn request(&self, order: &Order) -> anyhow::Result<()> {
        let amount = u64::from(order.quantity) * order.price;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        anyhow::ensure!(!call.is_multiple_of(97), "the payment provider timed out on {amount}");
        Ok(())
    }
}
