//! `start_after`: listeners that start when others have completed, and those that wait in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_listener::extract::State;
use kafka_listener::{
    ContainerState, ListenerRegistry, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener,
};
use support::{Record, broker, eventually, unique};

use super::super::common::{Latch, SOON, watch_log};

#[derive(Clone)]
struct Shop {
    loaded: Arc<AtomicUsize>,
    /// How many prices were loaded when the first order came.
    at_first_order: Arc<AtomicUsize>,
    orders: Arc<AtomicUsize>,
    latch: Latch,
}

impl Shop {
    fn new() -> Self {
        let none = || Arc::new(AtomicUsize::new(0));
        Self { loaded: none(), at_first_order: none(), orders: none(), latch: Latch::closed() }
    }
}

#[kafka_listener(id = "load_prices", partitions = [("${app.prices}", "*")], until = "end")]
async fn load_prices(price: u32, State(shop): State<Shop>) -> anyhow::Result<()> {
    anyhow::ensure!(price < 1000, "too dear");
    if price == 99 {
        shop.latch.passed().await;
    }
    shop.loaded.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

#[kafka_listener(id = "sell", topic = "${app.orders}", group_id = "${app.group}", start_after = ["load_prices"])]
async fn sell(_order: u32, _meta: RecordMetadata, State(shop): State<Shop>) {
    if shop.orders.fetch_add(1, Ordering::SeqCst) == 0 {
        shop.at_first_order.store(shop.loaded.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

async fn ground(prices: &[u32]) -> (ListenerRegistryBuilder, Shop) {
    watch_log();
    let (stock, orders) = (unique("prices"), unique("orders"));
    broker().create_topic(&stock, 2).await.unwrap();
    broker().create_topic(&orders, 1).await.unwrap();
    let prices = prices
        .iter()
        .enumerate()
        .map(|(n, price)| Record::to(&stock).partition(i32::try_from(n % 2).unwrap()).payload(price.to_string()));
    broker().produce_all(prices.collect::<Vec<_>>()).await.unwrap();
    broker().produce(Record::to(&orders).partition(0).payload("1")).await.unwrap();
    let shop = Shop::new();
    let builder = ListenerRegistry::builder()
        .environment(false)
        .without_discovery()
        .set("kafka.bootstrap_servers", broker().bootstrap_servers())
        .set("app.prices", stock)
        .set("app.orders", orders)
        .set("app.group", unique("group"))
        .register(listener!(load_prices))
        .register(listener!(sell))
        .state(shop.clone());
    (builder, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_starts_when_what_it_waits_for_has_completed() {
    let (builder, shop) = ground(&[1, 2, 99, 4]).await;
    let listeners = builder.start().await.unwrap();
    let sell = listeners.container("sell").unwrap();
    eventually(SOON, "three of four are loaded", || async { Ok(shop.loaded.load(Ordering::SeqCst) == 3) })
        .await
        .unwrap();
    assert_eq!((sell.state(), sell.waits_for()), (ContainerState::Waiting, vec!["load_prices".to_owned()]));
    let ready = listeners.health().ready;
    assert!(ready.reasons.iter().any(|reason| reason.contains("`sell` starts after `load_prices`")), "{ready:?}");
    assert!(listeners.status().to_string().contains("starts after: load_prices"), "{}", listeners.status());

    shop.latch.open();
    listeners.wait_until_assigned(SOON).await.unwrap();
    assert_eq!((sell.state(), sell.waits_for()), (ContainerState::Running, vec![]));
    assert!(listeners.health().ready.ok && listeners.health().started.ok, "{:?}", listeners.health());
    eventually(SOON, "the order is handled", || async { Ok(shop.orders.load(Ordering::SeqCst) == 1) }).await.unwrap();
    assert_eq!(shop.at_first_order.load(Ordering::SeqCst), 4);
    let report = listeners.shutdown().await;
    assert_eq!(report.to_string(), "`load_prices`: completed\n`sell`: drained");
    report.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_does_not_start_behind_one_that_failed_and_run_ends_with_the_reason() {
    let (builder, shop) = ground(&[1, 2, 1000, 4]).await;
    let builder = builder.set("listener.retry.attempts", 1);
    let error = tokio::time::timeout(SOON, builder.run()).await.unwrap().unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("`load_prices` failed") && text.contains("too dear"), "{text}");
    assert_eq!(shop.orders.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_waits_in_vain_says_for_whom() {
    let (builder, _shop) = ground(&[1000]).await;
    let listeners = builder.set("listener.retry.attempts", 1).start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let sell = listeners.container("sell").unwrap();
    assert_eq!(sell.state(), ContainerState::Failed);
    let failure = sell.failure().unwrap();
    assert!(failure.contains("`load_prices`, which it starts after") && failure.contains("too dear"), "{failure}");
    assert!(listeners.wait_until_assigned(SOON).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_the_wait() {
    let (builder, shop) = ground(&[99]).await;
    let listeners = builder.set("listener.shutdown_timeout", "2s").start().await.unwrap();
    let sell = listeners.container("sell").unwrap();
    assert_eq!(sell.state(), ContainerState::Waiting);
    let report = listeners.shutdown().await;
    assert!(report.to_string().contains("`sell`: was not started"), "{report}");
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!((sell.state(), shop.orders.load(Ordering::SeqCst)), (ContainerState::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_start_it_without_waiting() {
    let (builder, shop) = ground(&[99]).await;
    let listeners = builder.start().await.unwrap();
    listeners.container("sell").unwrap().start().unwrap();
    eventually(SOON, "the order is handled", || async { Ok(shop.orders.load(Ordering::SeqCst) == 1) }).await.unwrap();
    shop.latch.open();
    tokio::time::timeout(SOON, listeners.container("load_prices").unwrap().stopped()).await.unwrap();
    assert_eq!(listeners.container("sell").unwrap().state(), ContainerState::Running);
    listeners.shutdown().await.into_result().unwrap();
}
