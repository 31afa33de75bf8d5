use kafka_listener::kafka_listener;
use kafka_listener::{Classification, Classify};

#[derive(serde::Deserialize)]
struct Order;

struct Refused;

impl Classify for Refused {
    fn classify(&self) -> Classification {
        Classification::terminal()
    }
}

#[kafka_listener(topic = "orders")]
async fn handle(_: Order) -> Result<(), Refused> {
    Err(Refused)
}

fn main() {}
