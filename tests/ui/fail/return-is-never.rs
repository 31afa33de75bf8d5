use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
async fn handle(_: Order) -> ! {
    std::future::pending().await
}

fn main() {}
