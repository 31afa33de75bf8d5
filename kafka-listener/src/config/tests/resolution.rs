//! What right configurations come to.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{resolved, sources};
use crate::config::{AckMode, AutoOffsetReset, OnFailure, ResolvedListener, RetrySettings};
use crate::failure::ErrorClass;

fn property(listener: &ResolvedListener, name: &str) -> Option<String> {
    let properties = &listener.settings.client_properties;
    properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.expose_secret().to_owned())
}

#[test]
fn defaults_are_those_of_the_reference() {
    let resolved = resolved(&sources(""));
    let [payment, stock] = &resolved.listeners[..] else { panic!("two listeners are linked in") };
    assert_eq!((payment.settings.id.as_str(), stock.settings.id.as_str()), ("request_payment", "reserve_stock"));
    assert_eq!(stock.settings.topics, ["orders"]);
    assert_eq!(stock.settings.group_id, "inventory-service");
    assert_eq!(stock.settings.client_id, "kafka-listener-reserve_stock");
    assert_eq!(stock.settings.ack_mode, AckMode::Batch);
    assert_eq!(stock.settings.concurrency, None);
    assert_eq!(stock.settings.auto_offset_reset, AutoOffsetReset::Earliest);
    let retry = RetrySettings {
        attempts: None,
        delay: Duration::from_millis(200),
        multiplier: 2.0,
        max_delay: Duration::from_secs(30),
        jitter: 0.2,
    };
    assert_eq!(stock.settings.retry, retry);
    assert_eq!(stock.settings.on_failure.action(&ErrorClass::Decode), OnFailure::Hold);
    let properties = stock.settings.client_properties.iter();
    let lines: Vec<String> = properties.map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
}

#[test]
fn scopes_win_from_the_shared_block_to_the_listeners_own() {
    let toml = r#"
        [listener]
        consumers = 2
        ack_mode = "record"
        retry = { delay = "1s", attempts = 3 }
        container_factory = "slow"
        [container_factories.slow]
        consumers = 3
        retry.max_delay = "5m"
        on_failure = "skip"
        [listeners.reserve_stock]
        consumers = 4
        retry.attempts = 9
        on_failure.decode = "stop"
    "#;
    let resolved = resolved(&sources(toml));
    let [payment, stock] = &resolved.listeners[..] else { panic!("two listeners are linked in") };
    assert_eq!((payment.settings.consumers, stock.settings.consumers), (3, 4));
    assert_eq!((payment.settings.retry.attempts, stock.settings.retry.attempts), (Some(3), Some(9)));
    assert_eq!(stock.settings.retry.delay, Duration::from_secs(1));
    assert_eq!(stock.settings.retry.max_delay, Duration::from_secs(300));
    assert_eq!(stock.settings.on_failure.action(&ErrorClass::Decode), OnFailure::Stop);
    assert_eq!(stock.settings.on_failure.action(&ErrorClass::Retryable), OnFailure::Skip);
    assert_eq!(property(stock, "group.id").as_deref(), Some("inventory-service"));
}
