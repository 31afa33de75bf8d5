//! Arguments that are constants, and what the definition holds of them.
use kafka_listener::__private::AttributeValue;
use kafka_listener::{kafka_listener, listener};

mod names {
    pub const ID: &str = "order-handler";
    pub const GROUP: &str = "${GROUP:-order-service}";
    pub const TOPICS: &[&str] = &["orders", "returns"];
    pub const LIMIT: usize = 4;
}

#[kafka_listener(
    id = names::ID,
    topics = names::TOPICS,
    group_id = names::GROUP,
    concurrency = names::LIMIT * 2,
    auto_startup = cfg!(any()),
    properties = [concat!("client.rack=", "a")],
)]
async fn handle(order: u32) {
    let _ = order;
}

fn main() {
    let definition = listener!(handle);
    assert_eq!(definition.id, "order-handler");
    let attributes: Vec<_> = definition.attributes.iter().map(|a| (a.key, a.value, a.line, a.column)).collect();
    assert_eq!(
        attributes,
        [
            ("topics", AttributeValue::List(&["orders", "returns"]), 14, 14),
            ("group_id", AttributeValue::Str("${GROUP:-order-service}"), 15, 16),
            ("concurrency", AttributeValue::Int(8), 16, 19),
            ("auto_startup", AttributeValue::Bool(false), 17, 20),
            ("properties", AttributeValue::List(&["client.rack=a"]), 18, 18),
        ]
    );
}
