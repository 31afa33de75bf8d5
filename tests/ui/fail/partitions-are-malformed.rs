use kafka_listener::kafka_listener;

#[derive(serde::Deserialize)]
struct Order;

#[kafka_listener(partitions = [("orders", "0-5;7"), ("returns", "5-2"), ("prices", "0-3,2"), ("rates", "*,1")])]
async fn handle(order: Order) {
    drop(order);
}

fn main() {}
