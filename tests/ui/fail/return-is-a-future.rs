use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
fn handle(order: Order) -> std::future::Ready<()> {
    drop(order);
    std::future::ready(())
}

fn main() {}
