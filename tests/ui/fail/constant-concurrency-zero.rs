use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

const LIMIT: usize = 0;

#[kafka_listener(concurrency = LIMIT)]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
