use kafka_listener::kafka_listener;
use kafka_listener::RecordMetadata;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order, meta: &RecordMetadata, name: Option<&str>) {
    let _ = (order, meta, name);
}

fn main() {}
