use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const BLOCKING: bool = true;

#[kafka_listener(blocking = BLOCKING)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
