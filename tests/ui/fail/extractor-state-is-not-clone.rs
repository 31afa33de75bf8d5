use kafka_listener::kafka_listener;
use kafka_listener::extract::State;

#[derive(serde::Deserialize)]
struct Order;

struct Stock;

#[kafka_listener(topic = "orders")]
async fn handle(order: Order, State(stock): State<Stock>) {
    drop((order, stock));
}

fn main() {}
