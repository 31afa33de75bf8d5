//! `[kafka.producer]`: what the registry's producer is told.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::cluster::describe_raw;
use super::properties;
use super::reader::{Described, RawProperty, Reader};
use super::report::{Problem, Report};
use super::settings::ProducerSettings;
use super::value::Origin;

/// What librdkafka is told beside the keys; those that no key owns may be set in `properties`.
pub(crate) static BUILT_IN: &[(&str, &str)] = &[
    // A misspelt topic is an error, and a dead letter topic has the partitions that somebody chose.
    ("allow.auto.create.topics", "false"),
    // Keys go where Java's producers put them.
    ("partitioner", "murmur2_random"),
    // New partitions are found in half a minute instead of five.
    ("topic.metadata.refresh.interval.ms", "30000"),
    // A topic that was created a moment ago is waited for, one that is not there is not.
    ("topic.metadata.propagation.max.ms", "5000"),
];

/// Reads the table inside of `[kafka]`, whose own properties are `typed` and `raw`; `check` judges raw properties.
pub(super) fn read(
    kafka: &mut Reader<'_>,
    client_id: &str,
    typed: &BTreeMap<String, String>,
    raw: &[RawProperty],
    check: impl Fn(&[RawProperty], &mut Report),
) -> ProducerSettings {
    kafka.inner("producer", |producer| {
        let acks = producer.choice("acks");
        let idempotence = producer.boolean("enable_idempotence");
        let compression = producer.choice("compression").value;
        let linger = producer.duration("linger");
        let timeout = producer.duration("delivery_timeout");
        if idempotence.value && idempotence.is_set() && acks.value != "all" {
            producer.report.add(
                Problem::new(
                    &acks.origin,
                    format!("`acks = \"{}\"` contradicts `enable_idempotence = true`", acks.value),
                )
                .help("an idempotent producer waits for all replicas in sync"),
            );
        }
        if !linger.broken && !timeout.broken && linger.value >= timeout.value {
            producer.report.add(Problem::new(
                if linger.is_set() { &linger.origin } else { &timeout.origin },
                "`linger` must be shorter than `delivery_timeout`",
            ));
        }
        let is_idempotent = idempotence.value && acks.value == "all";
        let mut all: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend(typed.clone());
        let own = [
            ("client.id", format!("{client_id}-producer")),
            ("acks", acks.value.to_owned()),
            ("enable.idempotence", is_idempotent.to_string()),
            ("compression.codec", compression.to_owned()),
            ("linger.ms", linger.value.as_millis().to_string()),
            ("delivery.timeout.ms", timeout.value.as_millis().to_string()),
        ];
        all.extend(own.map(|(name, value)| (name.to_owned(), value)));

        let mut own_raw = producer.properties();
        own_raw.retain(|property| properties::accept_for_producer(property, producer.report));
        let of_kafka = raw.iter().filter(|property| !properties::is_for_consumers(&property.name));
        let overridden = |name: &str| own_raw.iter().any(|own| own.name == name);
        let merged: Vec<RawProperty> =
            of_kafka.filter(|property| !overridden(&property.name)).chain(&own_raw).cloned().collect();
        check(&merged, producer.report);
        let is_set = |name: &str| merged.iter().any(|property| property.name == name);
        producer.described.extend(BUILT_IN.iter().filter(|(name, _)| !is_set(name)).map(|(name, value)| Described {
            key: format!("kafka.producer.properties.{name}"),
            value: (*value).to_owned(),
            origin: Origin::Default,
        }));
        describe_raw(&own_raw, "kafka.producer.properties.", &mut producer.described);
        all.extend(merged.into_iter().map(|property| (property.name, property.value)));
        ProducerSettings {
            delivery_timeout: timeout.value,
            is_safe: is_idempotent,
            properties: all.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect(),
        }
    })
}
