use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[derive(serde::Deserialize)]
struct Product<'p> {
    name: &'p str,
}

#[kafka_listener(topic = "orders")]
async fn handle(product: Product<'_>) {
    drop(product.name);
}

fn main() {}
