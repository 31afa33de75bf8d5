use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle<'a, T: serde::de::DeserializeOwned>(order: T) {
    drop(order);
}

fn main() {}
