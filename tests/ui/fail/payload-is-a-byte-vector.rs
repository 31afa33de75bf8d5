use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(payload: Vec<u8>) {
    drop(payload);
}

fn main() {}
