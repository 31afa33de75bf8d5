//! The keys of `[kafka]`.

use super::{KEY, Key, Kind};

const HOUR: u64 = 3_600_000;

/// `[kafka]`.
pub(crate) static KAFKA: &[Key] = &[
    Key {
        name: "bootstrap_servers",
        kind: Kind::Texts,
        default: Some("localhost:9092"),
        default_from: "Spring Boot's",
        doc: "Brokers to find the cluster by, `host:port`.",
        librdkafka: "bootstrap.servers metadata.broker.list",
        spring: "bootstrap-servers",
        ..KEY
    },
    Key {
        name: "client_id",
        kind: Kind::Text,
        default: Some("kafka-listener"),
        default_from: "the library's name",
        doc: "First part of the client id; the listener's id and, with several consumers, a number are added.",
        librdkafka: "client.id",
        spring: "client-id",
        ..KEY
    },
    Key {
        name: "security_protocol",
        kind: Kind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        default: Some("plaintext"),
        default_from: "Kafka's",
        doc: "How to talk to the brokers; `ssl` and `sasl_ssl` need the feature `tls`.",
        librdkafka: "security.protocol",
        spring: "security.protocol",
        ..KEY
    },
    Key {
        name: "sasl",
        kind: Kind::Table(SASL),
        doc: "Who we are, for `sasl_plaintext` and `sasl_ssl`.",
        spring: "jaas",
        ..KEY
    },
    Key {
        name: "producer",
        kind: Kind::Table(PRODUCER),
        doc: "The producer of dead letters and of the extractor `Producer`; made only where something needs it.",
        spring: "producer",
        ..KEY
    },
    Key { name: "tls", kind: Kind::Table(TLS), doc: "Certificates, for `ssl` and `sasl_ssl`.", spring: "ssl", ..KEY },
    Key {
        name: "allow_insecure",
        kind: Kind::Boolean,
        default: Some("false"),
        default_from: "passwords and records are not to be given away by accident",
        doc: "Permits what is refused otherwise: PLAIN over an unencrypted connection, certificates or host names \
              that are not verified.",
        ..KEY
    },
    Key {
        name: "properties",
        kind: Kind::Properties,
        doc: "librdkafka's own names and values for every client; a name that a key here owns is refused.",
        spring: "properties",
        ..KEY
    },
];

/// `[kafka.sasl]`.
pub(crate) static SASL: &[Key] = &[
    Key {
        name: "mechanism",
        kind: Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"]),
        doc: "How to prove it. SCRAM and OAUTHBEARER need the feature `tls`, OAUTHBEARER by OIDC `oidc`, GSSAPI \
              `gssapi`.",
        librdkafka: "sasl.mechanism sasl.mechanisms",
        spring: "properties[sasl.mechanism]",
        ..KEY
    },
    Key {
        name: "username",
        kind: Kind::Text,
        doc: "For PLAIN and SCRAM.",
        librdkafka: "sasl.username",
        spring: "jaas.options.username",
        ..KEY
    },
    Key {
        name: "password",
        kind: Kind::Text,
        doc: "For PLAIN and SCRAM; best from `${file:/run/secrets/…}` or the environment.",
        librdkafka: "sasl.password",
        spring: "jaas.options.password",
        secret: true,
        ..KEY
    },
];

/// `[kafka.producer]`.
pub(crate) static PRODUCER: &[Key] = &[
    Key {
        name: "acks",
        kind: Kind::Choice(&["all", "1", "0"]),
        default: Some("all"),
        default_from: "Kafka's; dead letters need it",
        doc: "Who has stored a record when it counts as acknowledged: `all` replicas in sync, `1` for the leader, `0` \
              for nobody.",
        librdkafka: "acks request.required.acks",
        spring: "producer.acks",
        ..KEY
    },
    Key {
        name: "enable_idempotence",
        kind: Kind::Boolean,
        default: Some("true"),
        default_from: "Kafka's; librdkafka's is false",
        doc: "A record that the client sends again is stored once and in its order. Needs `acks = \"all\"`.",
        librdkafka: "enable.idempotence",
        spring: "producer.properties[enable.idempotence]",
        ..KEY
    },
    Key {
        name: "compression",
        kind: Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        default: Some("lz4"),
        default_from: "Kafka's is none; lz4 costs next to nothing",
        doc: "How batches are compressed.",
        librdkafka: "compression.codec compression.type",
        spring: "producer.compression-type",
        ..KEY
    },
    Key {
        name: "linger",
        kind: Kind::Duration { min: 0, max: 900_000 },
        default: Some("5ms"),
        default_from: "Kafka's and librdkafka's",
        doc: "How long a record waits for others to share a batch.",
        librdkafka: "linger.ms queue.buffering.max.ms",
        spring: "producer.properties[linger.ms]",
        ..KEY
    },
    Key {
        name: "delivery_timeout",
        kind: Kind::Duration { min: 1, max: 24 * HOUR },
        default: Some("2m"),
        default_from: "Kafka's; librdkafka's is 5 minutes",
        doc: "A record that is not acknowledged by then is given up; it may be stored all the same.",
        librdkafka: "delivery.timeout.ms message.timeout.ms",
        spring: "producer.properties[delivery.timeout.ms]",
        ..KEY
    },
    Key {
        name: "properties",
        kind: Kind::ProducerProperties,
        doc: "librdkafka's own names and values for the producer, over those of `[kafka]`.",
        spring: "producer.properties",
        ..KEY
    },
];

/// `[kafka.tls]`.
pub(crate) static TLS: &[Key] = &[
    Key {
        name: "ca",
        kind: Kind::Text,
        default_from: "the system's certificates",
        doc: "Certificates of the authorities to trust: path of a PEM file, or the PEM text itself.",
        librdkafka: "ssl.ca.location ssl.ca.pem",
        spring: "ssl.trust-store-location",
        ..KEY
    },
    Key {
        name: "certificate",
        kind: Kind::Text,
        doc: "Our certificate, for mutual TLS: path of a PEM file, or the PEM text itself.",
        librdkafka: "ssl.certificate.location ssl.certificate.pem",
        spring: "ssl.key-store-location",
        ..KEY
    },
    Key {
        name: "key",
        kind: Kind::Text,
        doc: "Its private key: path of a PEM file, or the PEM text itself.",
        librdkafka: "ssl.key.location ssl.key.pem",
        spring: "ssl.key-store-key",
        secret: true,
        ..KEY
    },
    Key {
        name: "key_password",
        kind: Kind::Text,
        doc: "Password of the private key.",
        librdkafka: "ssl.key.password",
        spring: "ssl.key-password",
        secret: true,
        ..KEY
    },
];
