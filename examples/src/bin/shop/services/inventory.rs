//! The inventory service: takes the quantity from stock, and raises an alert when it is short.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use kafka_listener::extract::{RecordMetadata, State};
use kafka_listener::kafka_listener;

use crate::ledger::{Ledger, lock};
use crate::order::{Order, PRODUCTS};

#[kafka_listener(topic = "orders", group_id = "inventory-service")]
async fn reserve_stock(order: Order, meta: RecordMetadata, State(stock): State<Stock>) -> Result<(), StockError> {
    if let Reserved::Short { missing } = stock.reserve(&order)? {
        tracing::warn!(product = order.product_id, missing, record = %meta, "stock was short, replenishing");
    }
    stock.ledger.enter(&order);
    Ok(())
}

/// The shelves, whose table is locked by somebody else now and then.
#[derive(Clone, Debug)]
pub(crate) struct Stock {
    shelves: Arc<Mutex<Shelves>>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Shelves {
    pieces: HashMap<String, u32>,
    /// The orders whose pieces are taken: one that comes twice takes them once.
    reserved: HashSet<String>,
    calls: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Reserved {
    Taken,
    Short { missing: u32 },
}

const PIECES_PER_DELIVERY: u32 = 2_000;

impl Stock {
    pub(crate) fn new(ledger: Ledger) -> Self {
        let pieces = PRODUCTS.iter().map(|(product, _)| ((*product).to_owned(), PIECES_PER_DELIVERY)).collect();
        let shelves = Shelves { pieces, reserved: HashSet::new(), calls: 0 };
        Self { shelves: Arc::new(Mutex::new(shelves)), ledger }
    }

    fn reserve(&self, order: &Order) -> Result<Reserved, StockError> {
        let mut shelves = lock(&self.shelves);
        shelves.calls += 1;
        if shelves.calls.is_multiple_of(151) {
            return Err(StockError::Locked { product: order.product_id.clone() });
        }
        if !shelves.reserved.insert(order.order_id.clone()) {
            return Ok(Reserved::Taken);
        }
        let pieces = shelves.pieces.entry(order.product_id.clone()).or_default();
        let missing = order.quantity.saturating_sub(*pieces);
        if missing > 0 {
            *pieces += PIECES_PER_DELIVERY;
        }
        *pieces -= order.quantity;
        Ok(if missing > 0 { Reserved::Short { missing } } else { Reserved::Taken })
    }
}

/// Why no pieces were taken. Trying again helps, which is what the framework takes any error for.
#[derive(Debug)]
pub(crate) enum StockError {
    Locked { product: String },
}

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { product } => write!(f, "the shelf of `{product}` is locked"),
        }
    }
}

impl Error for StockError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::RunId;

    #[test]
    fn an_order_that_comes_twice_takes_its_pieces_once_and_a_short_shelf_is_filled() {
        let run = RunId::random();
        let stock = Stock::new(Ledger::new(run.clone()));
        let order = |number: u32, quantity| Order { quantity, ..run.order(number * 5) };
        let left = |stock: &Stock| lock(&stock.shelves).pieces[PRODUCTS[0].0];

        stock.reserve(&order(0, 1_999)).unwrap();
        stock.reserve(&order(0, 1_999)).unwrap();
        assert_eq!(left(&stock), 1);
        assert_eq!(stock.reserve(&order(1, 3)).unwrap(), Reserved::Short { missing: 2 });
        assert_eq!(left(&stock), 1_998);
    }
}
