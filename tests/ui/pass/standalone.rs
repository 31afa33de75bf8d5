//! Listeners without a group, with literals and constants, and what their definitions hold.
use kafka_listener::__private::AttributeValue;
use kafka_listener::{kafka_listener, listener};

mod names {
    pub const PRICES: &str = "prices";
    pub const FIRST: &str = "0-3";
}

#[kafka_listener(
    partitions = [(names::PRICES, names::FIRST), ("${app.rates:-rates}", "*@end-10")],
    until = "end",
    until_timeout = "5m",
)]
async fn load_prices(price: u32) {
    let _ = price;
}

#[kafka_listener(topics = ["orders", "returns"], partitions = "0-5,7", commit = true, group_id = "shop", initial_offset = "beginning")]
async fn read(order: u32) {
    let _ = order;
}

#[kafka_listener(topic_pattern = "^orders-.*", group_id = "shop", start_after = ["load_prices"])]
async fn all(order: u32) {
    let _ = order;
}

fn main() {
    let attributes = |definition: kafka_listener::ListenerDefinition| {
        definition.attributes.iter().map(|attribute| (attribute.key, attribute.value)).collect::<Vec<_>>()
    };
    let pairs = AttributeValue::Pairs(&[("prices", "0-3"), ("${app.rates:-rates}", "*@end-10")]);
    assert_eq!(attributes(listener!(load_prices))[0], ("partitions", pairs));
    assert_eq!(attributes(listener!(read))[1], ("partitions", AttributeValue::Str("0-5,7")));
    assert_eq!(attributes(listener!(read))[2], ("commit", AttributeValue::Bool(true)));
    assert_eq!(attributes(listener!(all))[0], ("topic_pattern", AttributeValue::Str("^orders-.*")));
}
