use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(topic = "orders")]
fn handle(order: Order) -> impl Future<Output = ()> {
    async move { drop(order) }
}

fn main() {}
