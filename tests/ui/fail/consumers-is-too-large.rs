use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(consumers = 4294967296)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
