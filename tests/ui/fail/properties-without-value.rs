use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(properties = ["socket.keepalive.enable=true", "check.crcs"])]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
