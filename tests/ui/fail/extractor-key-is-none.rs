use kafka_listener::kafka_listener;
use kafka_listener::extract::Key;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order, Key(key): Key<u64>) {
    let _ = (order, key);
}

fn main() {}
