//! The producer against librdkafka's mock cluster: what is waited for, how long, and what follows a breakdown.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use secrecy::SecretString;

use super::{ProducerEngine, SendFailure};
use crate::clock::Instant;
use crate::config::ProducerSettings;
use crate::kafka::ffi::Outgoing;

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:9";

fn engine(servers: &str, delivery_timeout: Duration) -> Arc<ProducerEngine> {
    let timeout = delivery_timeout.as_millis().to_string();
    let properties = [
        ("bootstrap.servers", servers),
        ("enable.idempotence", "true"),
        ("linger.ms", "1"),
        ("delivery.timeout.ms", &timeout),
        ("log_level", "0"),
    ];
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect();
    Arc::new(ProducerEngine::new(ProducerSettings { delivery_timeout, is_safe: true, properties }))
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    cluster
}

const RECORD: Outgoing<'_> =
    Outgoing { topic: "orders", partition: Some(0), key: None, payload: Some(b"x"), timestamp: None, headers: &[] };

#[tokio::test]
async fn a_record_is_acknowledged_with_its_place() {
    let cluster = cluster();
    let engine = engine(&cluster.bootstrap_servers(), Duration::from_secs(30));
    for offset in 0..3 {
        assert_eq!(engine.send(&RECORD).await.unwrap(), (0, offset));
    }
    assert_eq!(engine.partitions("orders", Duration::from_secs(30)).await.unwrap(), Some(1));
    assert_eq!(engine.flush(Duration::from_secs(30)).await, 0);
}

#[tokio::test]
async fn a_broker_that_is_away_costs_no_more_than_delivery_timeout() {
    let engine = engine(NOWHERE, Duration::from_millis(500));
    let began = Instant::now();
    let failed = engine.send(&RECORD).await.unwrap_err();
    assert!(matches!(failed, SendFailure::TimedOut), "{failed:?}");
    let took = Instant::now().saturating_since(began);
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < super::GRACE + Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_flush_keeps_its_budget_and_counts_what_has_no_answer() {
    let engine = engine(NOWHERE, Duration::from_secs(120));
    let sending = Arc::clone(&engine);
    let send = tokio::spawn(async move { sending.send(&RECORD).await });
    while engine.live().as_ref().is_none_or(|live| live.client.outstanding() == 0) {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    assert_eq!(engine.flush(Duration::from_millis(200)).await, 1);
    assert!(Instant::now().saturating_since(began) < Duration::from_secs(20));
    send.abort();
}

#[tokio::test]
async fn after_a_breakdown_who_waits_is_told_and_the_next_record_goes_through() {
    let cluster = cluster();
    let engine = engine(&cluster.bootstrap_servers(), Duration::from_secs(30));
    // Before there is a connection: a request that the client has made already goes out with the next one, fatal error
    // or not, and is then stored and said to be.
    cluster.broker_down(1).unwrap();
    let sending = Arc::clone(&engine);
    let waiting = tokio::spawn(async move { sending.send(&RECORD).await });
    while engine.live().as_ref().is_none_or(|live| live.client.outstanding() == 0) {
        tokio::task::yield_now().await;
    }
    engine.break_down();
    cluster.broker_up(1).unwrap();
    let told = waiting.await.unwrap();
    assert!(matches!(told, Err(SendFailure::BrokeDown(_))), "{told:?}");

    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match engine.send(&RECORD).await {
            Ok(stored) => break assert_eq!(stored, (0, 0)),
            Err(SendFailure::BrokeDown(_)) => assert!(Instant::now() < until, "it is never made anew"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whoever_waits_when_the_producer_goes_is_told() {
    let engine = engine(NOWHERE, Duration::from_secs(120));
    let client = engine.client().unwrap();
    let answered = engine.enqueue(&client, &RECORD).await.unwrap();
    drop(client);
    drop(engine);
    let told = tokio::time::timeout(Duration::from_secs(30), answered).await.expect("it is told soon");
    assert!(matches!(told, Ok(Err(_))), "{told:?}");
}

#[tokio::test]
async fn a_property_that_librdkafka_refuses_shows_when_the_client_is_made() {
    let properties = vec![("compression.codec".to_owned(), SecretString::from("brotli"))];
    let settings = ProducerSettings { delivery_timeout: Duration::from_secs(1), is_safe: true, properties };
    let refused = ProducerEngine::new(settings).prepare().unwrap_err();
    assert!(refused.to_string().contains("`compression.codec`"), "{refused}");
}
