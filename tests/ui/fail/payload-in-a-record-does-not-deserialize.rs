use kafka_listener::kafka_listener;
use kafka_listener::ConsumerRecord;

#[derive(serde::Deserialize)]
struct Order;

struct Product;

#[kafka_listener(topic = "orders")]
async fn handle(record: ConsumerRecord<Product>) {
    drop(record);
}

fn main() {}
