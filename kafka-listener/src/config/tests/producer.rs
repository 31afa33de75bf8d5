//! `[kafka.producer]`: what the producer is told, and what is refused.

use secrecy::ExposeSecret;

use super::{report, resolved, sources};

fn property(toml: &str, name: &str) -> Option<String> {
    let producer = resolved(&sources(toml)).producer;
    let found = producer.properties.iter().find(|(known, _)| known == name)?;
    Some(found.1.expose_secret().to_owned())
}

#[test]
fn the_defaults_are_safe() {
    let producer = resolved(&sources("")).producer;
    assert!(producer.is_safe);
    for (name, value) in [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("compression.codec", "lz4"),
        ("linger.ms", "5"),
        ("delivery.timeout.ms", "120000"),
        ("allow.auto.create.topics", "false"),
        ("partitioner", "murmur2_random"),
        ("client.id", "kafka-listener-producer"),
        ("bootstrap.servers", "localhost:9092"),
    ] {
        assert_eq!(property("", name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn keys_reach_librdkafka_and_raw_properties_win_over_what_no_key_owns() {
    let toml = "[kafka]\nclient_id = 'shop'\n[kafka.properties]\n'socket.keepalive.enable' = true\n\
                'fetch.error.backoff.ms' = 7\n\
                [kafka.producer]\nacks = '1'\nlinger = '20ms'\ncompression = 'zstd'\n\
                [kafka.producer.properties]\n'batch.size' = 1000\npartitioner = 'random'";
    for (name, value) in [
        ("acks", Some("1")),
        ("enable.idempotence", Some("false")),
        ("linger.ms", Some("20")),
        ("compression.codec", Some("zstd")),
        ("batch.size", Some("1000")),
        ("partitioner", Some("random")),
        ("socket.keepalive.enable", Some("true")),
        ("fetch.error.backoff.ms", None),
        ("client.id", Some("shop-producer")),
    ] {
        assert_eq!(property(toml, name).as_deref(), value, "{name}");
    }
    assert!(!resolved(&sources(toml)).producer.is_safe);
    assert_eq!(property("[kafka.producer.properties]\nbatch.size = 5", "batch.size").as_deref(), Some("5"));
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (toml, said) in [
        ("[kafka.producer]\nacks = '1'\nenable_idempotence = true", "contradicts `enable_idempotence = true`"),
        ("[kafka.producer]\nlinger = '3m'", "`linger` must be shorter than `delivery_timeout`"),
        (
            "[kafka.producer]\nacks = '1'\n[listener]\non_failure = 'dead_letter'",
            "dead letters need a producer that loses nothing",
        ),
        ("[listener.dead_letter]\ntopic = '{topic}'", "dead letters of `orders` would go to `orders`"),
        ("[listener.dead_letter]\ntopic = '{topic} dlt'", "is not the name of a dead letter topic"),
        ("[listener.dead_letter]\nheaders = 'springs'", "did you mean `spring`?"),
        ("[kafka.producer]\nlinger_ms = 5", "did you mean `linger`?"),
        ("[kafka.producer.properties]\nacks = 1", "is owned by the key `kafka.producer.acks`"),
        ("[kafka.producer.properties]\n'transactional.id' = 'x'", "transactions are not available"),
        ("[kafka.producer.properties]\n'fetch.min.bytes' = 5", "is for consumers"),
        ("[kafka.producer.properties]\n'check.crcs' = true", "is for consumers"),
        ("[kafka.producer.properties]\n'batch.sise' = 5", "did you mean `batch.size`?"),
        ("[kafka.producer.properties]\ndr_cb = 1", "is set by the framework"),
    ] {
        let report = report(&sources(toml));
        assert!(report.contains(said), "{toml}\n{report}");
    }
}
