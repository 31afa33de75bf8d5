use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(properties = ["fetch.min.bytes=1024", "check.crcs"])]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
