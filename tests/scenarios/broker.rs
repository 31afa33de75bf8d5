//! The tests' own ground: the broker, and what the support library says of it.

use support::{Record, broker, unique};

#[tokio::test]
async fn a_produced_record_is_acknowledged_with_its_place() {
    let topic = unique("orders");
    broker().create_topic(&topic, 2).await.unwrap();

    let first = broker().produce(Record::to(&topic).partition(1).payload("a")).await.unwrap();
    let second = broker().produce(Record::to(&topic).partition(1)).await.unwrap();

    assert_eq!((first.partition, first.offset), (1, 0));
    assert_eq!((second.partition, second.offset), (1, 1));
}
