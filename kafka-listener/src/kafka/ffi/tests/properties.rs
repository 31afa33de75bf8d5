//! What is said of a property that librdkafka does not take.

use super::*;

/// `name` is refused with a text that names it, ends as told, and shows nothing of the value.
#[track_caller]
fn check(name: &str, value: &str, hidden: &str, ending: &str) {
    let waker = Arc::new(Waker::default());
    let error = Client::new([("group.id", "readers"), (name, value)], &waker).unwrap_err();
    assert!(error.text.contains(&format!("property `{name}`")), "{error}");
    assert!(!error.text.contains(hidden), "{error}");
    assert!(error.text.ends_with(ending), "{error}");
}

#[test]
fn a_refused_property_is_named_and_its_value_is_not_shown() {
    check("no.such.property", "s3cret", "s3cret", "No such configuration property: \"no.such.property\"");
    check("security.protocol", "s3cret", "s3cret", "`security.protocol`");
    check("enable.auto.commit", "s3cret", "s3cret", "\"enable.auto.commit\": true or false");
    check("session.timeout.ms", "s3cret", "s3cret", "`session.timeout.ms`");
    check("session.timeout.ms", "0", " 0 ", "outside allowed range 1..3600000");
}

#[test]
fn a_value_stays_hidden_where_librdkafka_quotes_it_in_part() {
    check("security.protocol", " s3cret ", "s3cret", "`security.protocol`");
    check("debug", "broker, s3cret", "s3cret", "`debug`");
    check("session.timeout.ms", "99999999s3cret", "9999", "outside allowed range 1..3600000");
    check("security.protocol", &"s3cret".repeat(200), "s3cret", "`security.protocol`");
}

#[test]
fn a_nul_character_is_refused_before_it_can_end_a_value_early() {
    check("sasl.password", "s3cret\0tail", "s3cret", "holds a NUL character");
    let waker = Arc::new(Waker::default());
    let error = Client::new([("group.id\0", "s3cret")], &waker).unwrap_err();
    assert_eq!(error.text, "property `group.id\\u{0}` holds a NUL character");
}

#[test]
fn properties_that_contradict_each_other_are_refused_by_name() {
    let waker = Arc::new(Waker::default());
    let properties = [("group.id", "readers"), ("session.timeout.ms", "9000"), ("max.poll.interval.ms", "8000")];
    let error = Client::new(properties, &waker).unwrap_err();
    assert!(error.text.contains("`max.poll.interval.ms`") && error.text.contains("`session.timeout.ms`"), "{error}");
}

#[test]
fn a_code_that_nobody_knows_is_an_error_like_others() {
    assert_eq!(KafkaError::of(9999), KafkaError { code: 9999, text: "Err-9999? (ERR_9999?)".to_owned() });
    assert_eq!(KafkaError::of(-77_777).code, -77_777);
}
