//! `retry_topics`: what is read, and what is refused.

use std::time::Duration;

use super::{definition, refused, report, resolved, settings_of_one_listener, sources, variables};
use crate::config::{AutoOffsetReset, OnFailure, resolve};
use crate::definition::AttributeValue::{List, Str};
use crate::retry_topics::Suffix;

const ON: (&str, &str) = ("listener.retry_topics.delays", "10s,1m");

fn property(settings: &crate::config::ListenerSettings, name: &str) -> Vec<String> {
    use secrecy::ExposeSecret as _;
    let found = settings.client_properties.iter().filter(|(found, _)| found == name);
    found.map(|(_, value)| value.expose_secret().to_owned()).collect()
}

#[test]
fn without_delays_there_are_none() {
    assert!(settings_of_one_listener(&[]).retry_topics.is_none());
    let off = settings_of_one_listener(&[ON, ("listeners.request_payment.retry_topics.delays", "")]);
    assert!(off.retry_topics.is_none(), "a listener turns off what a shared block turns on");
    assert!(off.of_retry_topics().is_none() && off.all_retry_topics().is_empty());
    assert_eq!(off.failures.default.retry.attempts, None, "in place for ever");
}

#[test]
fn delays_are_durations_in_a_list_or_with_commas() {
    let toml =
        "[listener.retry_topics]\ndelays = ['10s', 250, '${LONG:-1m}']\nsuffix = 'index'\ntopic = '{topic}.later'";
    let settings = &resolved(&sources(toml)).listeners[0].settings;
    let topics = settings.retry_topics.as_ref().unwrap();
    assert_eq!(topics.delays, [10_000, 250, 60_000].map(Duration::from_millis));
    assert_eq!((topics.suffix, topics.topic.as_str()), (Suffix::Index, "{topic}.later"));
    assert_eq!(settings.all_retry_topics(), ["orders.later-0", "orders.later-1", "orders.later-2"]);

    let environment = [("KAFKA_LISTENER__LISTENER__RETRY_TOPICS__DELAYS", "1s, 2000")];
    let settings = &resolved(&variables(sources(""), &environment)).listeners[0].settings;
    assert_eq!(settings.retry_topics.as_ref().unwrap().delays, [1, 2].map(Duration::from_secs));
}

#[test]
fn the_attribute_names_a_table() {
    let attributes = [
        ("topic", Str("orders")),
        ("group_id", Str("shop")),
        ("retry_topics.delays", List(&["1s", "${LONG:-2s}"])),
        ("retry_topics.suffix", Str("index")),
    ];
    let resolved =
        resolve(&sources("[listener.retry_topics]\ntopic = 'later-{topic}'"), &[definition("a", 1, &attributes)]);
    let settings = resolved.unwrap().listeners.remove(0).settings;
    assert_eq!(settings.all_retry_topics(), ["later-orders-0", "later-orders-1"]);
}

#[test]
fn each_topic_gives_a_record_one_delivery_unless_told_otherwise() {
    let attempts = |set: &[(&str, &str)]| settings_of_one_listener(set).failures.default.retry.attempts;
    assert_eq!(attempts(&[ON]), Some(1));
    assert_eq!(attempts(&[ON, ("listener.retry.attempts", "3")]), Some(3));
    assert_eq!(settings_of_one_listener(&[ON]).failures.default.action, OnFailure::Hold);
}

#[test]
fn the_retry_topics_are_read_from_their_beginning_in_a_group_of_their_own() {
    let settings = settings_of_one_listener(&[
        ON,
        ("listener.auto_offset_reset", "latest"),
        ("listener.group_instance_id", "pod-1"),
        ("listener.consumers", "3"),
        ("listener.on_failure", "dead_letter"),
    ]);
    assert_eq!(settings.dead_letter_topics(), ["orders-dlt"]);
    let retries = settings.of_retry_topics().unwrap();
    assert_eq!(retries.topics, ["orders-retry-10000", "orders-retry-60000"]);
    assert_eq!((retries.group_id.as_str(), retries.consumers), ("order-service-retry", 1));
    assert_eq!(retries.group_instance_id.as_deref(), Some("pod-1-retry"));
    assert_eq!(retries.auto_offset_reset, AutoOffsetReset::Earliest);
    assert_eq!(property(&retries, "auto.offset.reset"), ["earliest"]);
    assert_eq!(property(&retries, "group.id"), ["order-service-retry"]);
    assert_eq!(property(&settings, "group.id"), ["order-service"]);
    assert!(retries.dead_letter_topics().is_empty(), "the listener's own topics have dead letter topics");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (toml, said) in [
        ("[listener.retry_topics]\ndelays = ['soon']", "`delays` takes a duration"),
        ("[listener.retry_topics]\ndelays = ['0s']", "a duration from 1ms to"),
        ("[listener.retry_topics]\ndelays = 5", "`delays` takes a list of durations"),
        ("[listener.retry_topics]\ndelay = ['1s']", "did you mean `delays`?"),
        ("[listener.retry_topics]\ndelays = ['1s']\ntopic = '{topic}'", "records of `orders` would wait in `orders`"),
        ("[listener.retry_topics]\ndelays = ['1s']\ntopic = '{topic} x'", "is not the name of a retry topic"),
        (
            "[listener]\ntopics = ['a', 'b']\nretry_topics = { delays = ['1s'], topic = 'later' }\n\
             [listeners.request_payment]\ntopics = ['a', 'b']",
            "records of `a` and of `b` would wait in one topic, `later`",
        ),
        (
            "[kafka.producer]\nacks = '1'\n[listener.retry_topics]\ndelays = ['1s']",
            "retry topics need a producer that loses nothing",
        ),
    ] {
        let report = report(&sources(toml));
        assert!(report.contains(said), "{toml}\n{report}");
    }
}

#[test]
fn modes_without_retries_or_order_have_none() {
    let once = "ack_mode = 'at_most_once'\n";
    let retries = "retry_topics = { delays = ['1s'] }\n";
    let report = report(&sources(&format!("[listener]\n{once}{retries}")));
    assert!(report.contains("`retry_topics` contradicts `ack_mode = \"at_most_once\"`"), "{report}");
    let below = format!("[listener]\n{retries}[listeners.request_payment]\n{once}");
    let resolved = resolved(&sources(&below));
    assert!(resolved.listeners[0].settings.retry_topics.is_none(), "what a shared block says is for others");
    assert!(resolved.listeners[1].settings.retry_topics.is_some());
}

#[test]
fn listeners_of_one_group_do_not_share_retry_topics() {
    let listener = |id, topic| definition(id, 1, &[("topic", Str(topic)), ("group_id", Str("shop"))]);
    let both = [listener("a", "orders"), listener("b", "returns")];
    let toml = "[listener.retry_topics]\ndelays = ['1s']\ntopic = 'later'";
    let report = refused(resolve(&sources(toml), &both));
    assert!(report.contains("would put records off to one topic, `later`"), "{report}");
    resolve(&sources("[listener.retry_topics]\ndelays = ['1s']"), &both).unwrap();
}
