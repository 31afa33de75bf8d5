use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(orders: Vec<Order>) {
    drop(orders);
}

fn main() {}
