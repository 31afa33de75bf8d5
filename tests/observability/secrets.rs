//! A secret that a run is given is in none of its words: no line at any level, no error, no `Debug`.

use kafka_listener::extract::State;
use kafka_listener::{Error, ListenerError, kafka_listener, listener};
use support::eventually;

use crate::common::{Desk, Ground, Order, SOON};
use crate::log::all_lines;

const CANARY: &str = "hunter2-canary";

#[kafka_listener(id = "discreet")]
async fn discreet(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn a_run_with_a_password_that_the_broker_does_not_take_never_tells_it() {
    let ground = Ground::new(1).await;
    let builder = ground
        .registry()
        .register(listener!(discreet))
        .environment_vars([("ORDERS_PASSWORD", format!("{CANARY}-of-the-environment"))])
        .config_str("[kafka.sasl]\npassword = '${ORDERS_PASSWORD}'\n")
        .set("kafka.allow_insecure", true)
        .set("kafka.security_protocol", "sasl_plaintext")
        .set("kafka.sasl.mechanism", "PLAIN")
        .set("kafka.sasl.username", "shop")
        // All that librdkafka can be brought to say, its configuration included.
        .set("kafka.properties", std::collections::BTreeMap::from([("debug".to_owned(), "all")]));
    let mut said = vec![format!("{builder:?}{builder:#?}")];

    let listeners = builder.start().await.unwrap();
    // The listener at that port speaks no SASL, so that the connection is refused and librdkafka says so.
    let refused = || async { all_lines().iter().any(|line| line.message().to_lowercase().contains("sasl")) };
    eventually(SOON, "librdkafka tells of SASL", refused).await.unwrap();
    said.push(format!("{listeners:?}{:?}{:?}", listeners.containers(), listeners.health()));
    said.push(format!("{:?}{}", listeners.status(), listeners.status()));
    let error = listeners.wait_until_assigned(std::time::Duration::from_millis(100)).await.unwrap_err();
    said.push(format!("{error:?}{error}"));
    let report = listeners.shutdown().await;
    said.push(format!("{report:?}{report}"));

    assert!(said.iter().all(|words| !words.contains(CANARY)), "{said:#?}");
    let told = all_lines();
    let passwords = told.iter().filter(|line| line.field("key") == "kafka.sasl.password").collect::<Vec<_>>();
    assert!(passwords.iter().any(|line| line.field("value") == "[redacted]"), "{passwords:?}");
    let leaks: Vec<_> = told.iter().filter(|line| line.fields.values().any(|value| value.contains(CANARY))).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test]
async fn a_start_that_is_refused_does_not_tell_the_secrets_it_was_given() {
    let ground = Ground::new(1).await;
    let properties = ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.config", "sasl.passwort"];
    for property in properties {
        for block in ["kafka", "listener"] {
            let table = std::collections::BTreeMap::from([(property.to_owned(), CANARY)]);
            let builder = ground.registry().register(listener!(discreet)).set(format!("{block}.properties"), table);
            refused(&format!("{block}.properties.{property}"), builder.start().await);
        }
    }
    for path in
        ["kafka.sasl.password", "kafka.tls.key_password", "kafka.tls.key", "kafka.password", "listener.password"]
    {
        let builder = ground.registry().register(listener!(discreet)).set(path, CANARY);
        let builder = builder.set("kafka.security_protocol", "ssl").set("listener.concurrency", 0);
        refused(path, builder.start().await);
    }
    let leaks = all_lines().into_iter().filter(|line| line.fields.values().any(|value| value.contains(CANARY)));
    assert_eq!(leaks.count(), 0);
}

/// The start failed, and said why without the secret.
#[track_caller]
fn refused(what: &str, started: Result<kafka_listener::ListenerRegistry, Error>) {
    let error = started.expect_err(what);
    let said = format!("{error}{error:?}{error:#?}");
    assert!(!said.is_empty() && !said.contains(CANARY), "{what}: {said}");
}
