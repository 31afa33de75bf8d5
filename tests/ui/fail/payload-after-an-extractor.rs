use kafka_listener::kafka_listener;
use kafka_listener::RecordMetadata;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(meta: RecordMetadata, order: Order) {
    drop((meta, order));
}

fn main() {}
