use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct Batch<T>(Vec<T>);

#[kafka_listener(topic = "orders")]
async fn handle(orders: Batch<Order>) {
    drop(orders);
}

fn main() {}
