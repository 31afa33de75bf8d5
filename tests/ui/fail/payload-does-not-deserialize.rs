use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

struct Product;

#[kafka_listener(topic = "orders")]
async fn handle(product: Product) {
    drop(product);
}

fn main() {}
