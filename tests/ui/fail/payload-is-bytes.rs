use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

mod bytes {
    pub struct Bytes;
}

#[kafka_listener(topic = "orders")]
async fn handle(payload: Option<bytes::Bytes>) {
    drop(payload);
}

fn main() {}
