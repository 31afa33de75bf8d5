//! What a service says when it starts: a line per listener, and at debug every setting with its origin.

use std::collections::BTreeSet;

use kafka_listener::extract::State;
use kafka_listener::{ListenerError, kafka_listener, listener};
use tracing::Level;

use crate::common::{Desk, Ground, Order};
use crate::log::{all_lines, lines_of, lines_saying};

const DEFINED_ON: u32 = line!() + 2;

#[kafka_listener(id = "narrated", concurrency = 3)]
async fn narrated(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn a_listener_is_introduced_by_one_line_with_what_it_does_and_where_it_is_defined() {
    let ground = Ground::new(1).await;
    let client_id = support::unique("client");
    let listeners = ground
        .registry()
        .register(listener!(narrated))
        .set("listener.session_timeout", "7s")
        .set("kafka.client_id", client_id.as_str())
        .start()
        .await
        .unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let introduced = lines_saying("narrated", "listener starts");
    assert_eq!(introduced.len(), 1, "{introduced:?}");
    let line = &introduced[0];
    assert_eq!(line.level, Level::INFO);
    assert_eq!(line.field("topics"), format!("[{:?}]", ground.topic));
    assert_eq!(line.field("group"), ground.group);
    assert_eq!(line.field("slots"), "3");
    assert_eq!(line.field("consumers"), "1");
    let place = line.field("defined_at");
    assert!(place.ends_with(&format!("observability/start_line.rs:{DEFINED_ON}")), "{place}");

    let settings: Vec<_> = lines_of("narrated").into_iter().filter(|line| line.message() == "setting").collect();
    assert!(settings.iter().all(|line| line.level == Level::DEBUG && !line.field("origin").is_empty()));
    let of = |key: &str| {
        let found: Vec<_> = settings.iter().filter(|line| line.field("key") == key).collect();
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        (found[0].field("value"), found[0].field("origin"))
    };
    let (value, origin) = of("concurrency");
    assert!(value == "3" && origin.contains(&format!("start_line.rs:{DEFINED_ON}")), "{value} from {origin}");
    let (value, origin) = of("session_timeout");
    assert!(value.contains('7') && origin.contains(".set(\"listener.session_timeout\")"), "{value} from {origin}");
    assert!(of("max_poll_interval").1.contains("default"), "{:?}", of("max_poll_interval"));
    let told: BTreeSet<&str> = settings.iter().map(|line| line.field("key").split('.').next().unwrap()).collect();
    let untold: Vec<String> = keys_of_the_schema().into_iter().filter(|key| !told.contains(key.as_str())).collect();
    assert_eq!(untold, UNSET);

    let cluster = all_lines().into_iter().find(|line| line.field("value").contains(&client_id)).unwrap();
    assert_eq!((cluster.field("key"), cluster.level), ("kafka.client_id", Level::DEBUG));
    assert!(cluster.field("origin").contains(".set(\"kafka.client_id\")"), "{cluster:?}");
}

/// Keys without a default that nobody has set; `topic` shows as `topics`.
const UNSET: [&str; 13] = [
    "ack_drain",
    "client_id",
    "container_factory",
    "group_instance_id",
    "group_remote_assignor",
    "handler_timeout",
    "initial_offset",
    "partitions",
    "send_to",
    "topic",
    "topic_pattern",
    "until",
    "until_timeout",
];

/// Every key that a listener may have, as the schema for editors has them.
fn keys_of_the_schema() -> Vec<String> {
    let schema = kafka_listener::config::json_schema();
    schema["$defs"]["listener"]["properties"].as_object().unwrap().keys().cloned().collect()
}
