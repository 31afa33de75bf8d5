//! The main job: three services on one topic, and nothing is lost.

use kafka_listener::embedded::EmbeddedKafka;
use serde_json::{Value, json};

use crate::child::{Child, Finished};

const SHOP: &str = env!("CARGO_BIN_EXE_shop");

/// The last line, of a run that ended well.
#[track_caller]
fn report(run: &Finished) -> Value {
    assert!(run.status.success(), "{run:#?}");
    let last = run.stdout.last().unwrap();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {last}: {run:#?}"))
}

fn once(orders: u64) -> Value {
    json!({ "handled": orders, "distinct": orders, "duplicates": 0, "committed": orders })
}

fn none() -> Value {
    once(0)
}

#[test]
fn every_service_handles_every_order_once_and_the_broker_agrees() {
    let run = Child::spawn(SHOP, &["--orders", "3000", "--json"]).finish();
    let services = json!({
        "order-service": once(3_000),
        "inventory-service": once(3_000),
        "notification-service": once(3_000),
    });
    assert_eq!(report(&run), json!({ "orders": 3_000, "lost": 0, "services": services }), "{run:#?}");
    let keys = [r#"{"orders":"#, r#""lost":"#, r#""order-service":"#, r#""inventory-service":"#, r#""notification-"#];
    let places: Vec<_> = keys.iter().map(|key| run.stdout.last().unwrap().find(key)).collect();
    assert!(places.is_sorted() && places[0] == Some(0), "{places:?} {run:#?}");
}

#[test]
fn a_service_that_fails_every_time_harms_no_other_and_its_orders_are_still_there_for_the_next_run() {
    let kafka = EmbeddedKafka::builder().topic("orders", 3).start().unwrap();
    let shop = |arguments: &[&str]| {
        let cluster = ["--bootstrap", kafka.bootstrap_servers(), "--orders", "500", "--json"];
        report(&Child::spawn(SHOP, &[&cluster, arguments].concat()).finish())
    };

    let failing = json!({
        "order-service": once(500),
        "inventory-service": once(500),
        "notification-service": none(),
    });
    assert_eq!(shop(&["--fail-notifications"]), json!({ "orders": 500, "lost": 0, "services": failing }));

    // What the first run left is handled first, moves the offsets, and is counted by nobody else's run.
    let recovered = json!({
        "order-service": once(500),
        "inventory-service": once(500),
        "notification-service": { "handled": 500, "distinct": 500, "duplicates": 0, "committed": 1_000 },
    });
    assert_eq!(shop(&[]), json!({ "orders": 500, "lost": 0, "services": recovered }));
}

#[test]
fn ctrl_c_stops_under_load_without_losing_or_repeating_anything() {
    let mut running = Child::spawn(SHOP, &["--json"]);
    let is_busy = |lines: &[String], service: &str| {
        let zero = format!("{service}: running, handled 0,");
        lines.iter().any(|line| line.starts_with(&format!("{service}: running, handled ")) && !line.starts_with(&zero))
    };
    running.read_until(|lines| {
        ["order-service", "inventory-service", "notification-service"].iter().all(|service| is_busy(lines, service))
    });
    running.interrupt();

    let run = running.finish();
    let report = report(&run);
    assert_eq!(report["lost"], 0, "{run:#?}");
    for (service, figures) in report["services"].as_object().unwrap() {
        let handled = figures["handled"].as_u64().unwrap();
        assert!(handled > 0, "{service} {run:#?}");
        assert_eq!(*figures, once(handled), "{service} {run:#?}");
    }
}

/// What the other tests rest on: a service that passes records without handling them is convicted.
#[test]
fn skipped_orders_count_as_lost_and_end_the_run_with_an_error() {
    let config = concat!(env!("CARGO_TARGET_TMPDIR"), "/skip.toml");
    std::fs::write(
        config,
        "listener.session_timeout = \"6s\"\n[listeners.notify_customer]\nretry.attempts = 1\non_failure = \"skip\"\n",
    )
    .unwrap();
    let run = Child::spawn(SHOP, &["--config", config, "--orders", "500", "--fail-notifications", "--json"]).finish();
    assert_eq!(run.status.code(), Some(1), "{run:#?}");
    let report: Value = serde_json::from_str(run.stdout.last().unwrap()).unwrap();
    let notification = &report["services"]["notification-service"];
    assert_eq!(notification["handled"], 0, "{run:#?}");
    assert!(report["lost"].as_u64().unwrap() > 0, "{run:#?}");
    assert_eq!(report["lost"], notification["committed"], "{run:#?}");
}

#[test]
fn more_orders_than_the_embedded_broker_keeps_are_refused() {
    let run = Child::spawn(SHOP, &["--orders", "100001"]).finish();
    assert_eq!(run.status.code(), Some(2), "{run:#?}");
    assert!(run.stderr.contains("keeps 100000 orders") && run.stderr.contains("--bootstrap HOST:PORT"), "{run:#?}");
    assert!(run.stdout.is_empty(), "{run:#?}");
}
