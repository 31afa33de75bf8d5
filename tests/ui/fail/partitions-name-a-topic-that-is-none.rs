use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(partitions = [("or ders", "*"), ("orders", "*"), ("orders", "1")])]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
