//! Every kind of mistake and what is said about it.

use super::{definition, refused, report, shop, sources, variables};
use crate::config::{Codec, Sources, resolve};
use crate::definition::AttributeValue::{Bool, Int, List, Str};

/// The reports of several files, each under its text.
fn reports(files: &[&str]) -> String {
    files
        .iter()
        .map(|toml| format!("{}\n\n{}\n", toml.trim(), report(&sources(toml))))
        .collect::<Vec<_>>()
        .join("\n────\n\n")
}

#[test]
fn everything_wrong_is_one_report() {
    let toml = "
[kafka]
security_protocol = \"sasl_plaintext\"
sasl = { mechanism = \"PLAIN\", username = \"shop\", pasword = \"hunter2\" }

[listener]
concurency = 3
session_timeout = \"45 parsecs\"
[listeners.reserve_stok]
";
    insta::assert_snapshot!(report(&sources(toml)));
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(reports(&[
        "concurrency = 3",
        "[kafka]\n'auto-offset-reset' = 'latest'",
        "[listener]\nautoOffsetReset = 'latest'",
        "[listener]\n'max.poll.interval.ms' = 1000",
        "[listener]\nmissing-topics-fatal = true",
        "[listener]\nordering = 'key'",
        "[listener.retry]\nmax_attempts = 3",
        "[container_factories.slow]\ncontainer_factory = 'other'",
        "[profiles.never_active.listener]\nconcurency = 3",
        "[\"evil\\u001b[31m\"]\na = 1",
    ]));
}

#[test]
fn syntax_errors_and_duplicates() {
    insta::assert_snapshot!(reports(&[
        "[listener]\nack_mode = \"batch\"\nack_mode = \"record\"",
        "[listener]\nconcurrency = = 3 # the password is hunter2",
        "[kafka]\nsasl = { password = \"hunter2 }",
        "[kafka.sasl]\npassword = hunter2",
        "[listener\nconcurrency = 3",
        "[listener]\ntopic = 'a'\ntopics = ['b']",
        "[kafka.properties]\n'socket.keepalive.enable' = true\nsocket.keepalive.enable = false",
    ]));
}

#[test]
fn wrong_types_and_ranges() {
    insta::assert_snapshot!(reports(&[
        "config_version = 2",
        "kafka = 'localhost:9092'",
        "listeners = ['reserve_stock']",
        "[listeners]\nreserve_stock = 3",
        "[listener]\nauto_startup = 'true'",
        "[listener]\nconcurrency = 0",
        "[listener]\nconsumers = '3'",
        "[listener]\nconsumers = 99999999999999999999",
        "[listener]\nsession_timeout = 45.0",
        "[listener]\nsession_timeout = '2h'",
        "[listener]\nprefetch = 'much'",
        "[listener]\nprefetch = 10",
        "[listener]\nack_mode = 'manual'",
        "[listener]\nack_mode = 'bacth'",
        "[listener]\nauto_offset_reset = 'none'",
        "[listener]\nauto_offset_reset = 'by_duration:PT1H'",
        "[listener]\npartition_assignment_strategy = 'org.apache.kafka.clients.consumer.StickyAssignor'",
        "[listener]\npartition_assignment_strategy = ['cooperative-sticky', 'range']",
        "[listener]\non_failure = 'discard'",
        "[listener]\non_failure = { decode = 'drop' }",
        "[listener]\non_failure = { timeout = { atempts = 3, on_failure = 'retry' } }",
        "[listener]\non_failure = { decode = { attempts = 3 }, default = { delay = '1s' } }",
        "[listener]\non_failure.timeout = { delay = '1m' }",
        "[listener.retry]\nattempts = 0\nmultiplier = 0.5\njitter = 1.5",
        "[listener]\ngroup_id = ' '",
        "[listeners.reserve_stock]\ntopics = []",
        "[listeners.reserve_stock]\ntopics = ['orders', 'or ders', '^orders.*', 'orders']",
        "[listener]\nrevoke_timeout = 2026-11-23",
    ]));
}

#[test]
fn contradictions() {
    insta::assert_snapshot!(reports(&[
        "[listener]\nheartbeat_interval = '45s'",
        "[listener]\nsession_timeout = '10m'",
        "[listener]\nmax_poll_interval = '60s'\n[listeners.reserve_stock]\nrevoke_timeout = '31s'",
        "[listener]\ncommit_interval = '10s'",
        "[listener]\nretry.delay = '1m'",
        "[listener]\nenable_auto_commit = true\n[listeners.reserve_stock]\nack_mode = 'record'",
        "[listener]\nauto_commit_interval = '1s'",
        "[listener]\nack_time = '1s'\nack_count = 5\nsync_commits = true",
        "[listener]\nack_mode = 'record'\nsync_commits = true\n[listeners.reserve_stock]\nack_mode = 'time'\nack_count = 7",
        "[listener]\ngroup_protocol = 'consumer'\nsession_timeout = '10s'\nheartbeat_interval = '1s'",
        "[listener]\ngroup_protocol = 'consumer'\npartition_assignment_strategy = 'range'",
        "[listener]\ngroup_remote_assignor = 'uniform'\nleave_on_stop = true",
        "[listeners.reserve_stock]\ngroup_protocol = 'consumer'\ngroup_instance_id = 'pod'\nleave_on_stop = true",
        "[listener]\nshared_group = true\ngroup_instance_id = 'pod'\n[listeners.reserve_stock]\ngroup_id = 'order-service'",
        "[listeners.reserve_stock]\nack_mode = 'at_most_once'\nretry.attempts = 3\non_failure = 'hold'",
        "[listener]\nack_mode = 'at_most_once'\non_failure = { default = 'skip', decode = 'hold' }",
        "[listener]\nasync_acks = true\nack_drain = '2s'",
        "[listener]\ngroup_id = 'all'\n[listeners.reserve_stock]\ngroup_id = 'order-service'",
        "[listener]\nshared_group = true\n[listeners.reserve_stock]\ngroup_id = 'order-service'\nshared_group = false",
    ]));
}

#[test]
fn selection() {
    insta::assert_snapshot!(reports(&[
        "[listeners.reserve-stock]\nconcurrency = 3",
        "only = ['reserve_stok']",
        "expected = ['notify_customer', 'reserve_stock']",
        "[listener]\ncontainer_factory = 'slow'",
        "[container_factories.slow]\n[listener]\ncontainer_factory = 'slwo'",
    ]));
}

#[test]
fn listeners_without_topic_or_group_and_with_one_id() {
    let definitions = [
        definition("a", 3, &[]),
        definition("b", 7, &[("topic", Str("")), ("group_id", Int(3))]),
        definition("b", 9, &[]),
    ];
    insta::assert_snapshot!(refused(resolve(&sources(""), &definitions)));
}

#[test]
fn attributes() {
    let definitions = [definition(
        "a",
        3,
        &[
            ("topic", Str("${TOPIC}")),
            ("group_id", Str("g")),
            ("concurrency", Int(0)),
            ("auto_startup", Str("no")),
            ("ack_mode", Bool(true)),
            ("properties", List(&["group.id=x", "socket.keepalive.enable"])),
            ("prefetch", Str("8MiB")),
        ],
    )];
    insta::assert_snapshot!(refused(resolve(&sources(""), &definitions)));
}

#[test]
fn placeholders() {
    insta::assert_snapshot!(reports(&[
        "[listeners.reserve_stock]\ngroup_id = '${app.group}'",
        "[listeners.reserve_stock]\ngroup_id = '${GROUP'",
        "[listeners.reserve_stock]\ngroup_id = '${}'",
        "[listeners.reserve_stock]\ngroup_id = '${a b}'",
        "[listeners.reserve_stock]\ngroup_id = '${file:/does/not/exist}'",
        "[listeners.reserve_stock]\ngroup_id = '${file:/}'",
        "[listener]\nconcurrency = '${WORKERS:-many}'",
        "[listeners.reserve_stock]\ngroup_id = '${a}'\n[app]\na = '${b}'\nb = '${a}'",
        "[listeners.reserve_stock]\ngroup_id = '${a}'\n[app]\na = ['x']",
        "[kafka]\nbootstrap_servers = ['a:9092', '${BROKER}']",
    ]));
}

#[test]
fn properties() {
    insta::assert_snapshot!(reports(&[
        "[kafka.properties]\n'group.id' = 'x'\n'sasl.password' = 'hunter2'",
        "[kafka.properties]\n'enable.partition.eof' = true\nrebalance_cb = 'x'\n'group.instance.id' = 'x'",
        "[kafka.properties]\n'key.deserializer' = 'x'\n'sasl.jaas.config' = 'hunter2'\n'ssl.truststore.location' = 'x.jks'",
        "[kafka.properties]\n'linger.ms' = 5",
        "[kafka.properties]\n'socket.keepalive.enabled' = true\n'flux.capacitor' = 1",
        "[kafka.properties]\n'socket.keepalive.enable' = [true]",
        "[listeners.reserve_stock.properties]\n'auto.offset.reset' = 'latest'",
    ]));
}

#[test]
fn security() {
    insta::assert_snapshot!(reports(&[
        "[kafka]\nsecurity_protocol = 'sasl_plaintext'",
        "[kafka]\nsecurity_protocol = 'sasl_plaintext'\nsasl = { mechanism = 'PLAIN' }",
        "[kafka]\nsecurity_protocol = 'sasl_plaintext'\nsasl = { mechanism = 'PLAIN', username = 'u', password = 'hunter2' }",
        "[kafka]\nsasl = { mechanism = 'PLAIN', username = 'u', password = 'hunter2' }",
        "[kafka]\nbootstrap_servers = []",
    ]));
}

#[cfg(not(any(feature = "tls", feature = "tls-vendored", feature = "oidc", feature = "gssapi")))]
#[test]
fn features_that_are_off_are_named() {
    insta::assert_snapshot!(reports(&[
        "[kafka]\nsecurity_protocol = 'ssl'",
        "[kafka]\ntls = { ca = '/' }",
        "[kafka]\nsecurity_protocol = 'sasl_plaintext'\nsasl = { mechanism = 'SCRAM-SHA-256', username = 'u', password = 'hunter2' }",
        "[kafka]\nsecurity_protocol = 'sasl_plaintext'\nsasl = { mechanism = 'GSSAPI' }",
        "[kafka]\nproperties = { 'sasl.oauthbearer.method' = 'oidc', 'ssl.cipher.suites' = 'x', 'sasl.kerberos.keytab' = 'x' }",
        "[kafka]\nproperties = { 'enable.ssl.certificate.verification' = false }",
    ]));
}

#[cfg(any(feature = "tls", feature = "tls-vendored"))]
#[test]
fn tls_settings_are_checked() {
    insta::assert_snapshot!(reports(&[
        "[kafka]\nsecurity_protocol = 'ssl'\ntls = { ca = '/does/not/exist.pem' }",
        "[kafka]\nsecurity_protocol = 'ssl'\ntls = { certificate = '/' }",
        "[kafka]\nsecurity_protocol = 'ssl'\nproperties = { 'enable.ssl.certificate.verification' = false }",
        "[kafka]\nsecurity_protocol = 'ssl'\nproperties.ssl.endpoint.identification.algorithm = 'NONE'",
    ]));
}

#[test]
fn environment() {
    let vars = [
        ("KAFKA_LISTENER__LISTENER__CONCURENCY", "3"),
        ("KAFKA_LISTENER__LISTENER__CONSUMERS", "many"),
        ("KAFKA_LISTENER__LISTENER__PREFETCH", ""),
        ("KAFKA_LISTENER__LISTENERS__RESERVE_STOK__CONCURRENCY", "3"),
        ("KAFKA_LISTENER__KAFKA__PROPERTIES__DEBUG", "all"),
        ("KAFKA_LISTENER__LISTENER__PROPERTIES", "{hunter2}"),
        ("KAFKA_LISTENER__KAFKA__SASL", "hunter2"),
        ("KAFKA_LISTENER__LISTENER____ACK_MODE", "batch"),
        ("KAFKA_LISTENER__PROFILES__DEV__LISTENER__CONSUMERS", "3"),
        ("KAFKA_LISTENER_PROFILES", "dev, ../up"),
    ];
    insta::assert_snapshot!(report(&variables(sources(""), &vars)));
}

#[test]
fn environment_variables_that_may_mean_two_listeners() {
    let mut definitions = shop();
    definitions.push(definition("reserve-stock", 40, &[("topic", Str("t")), ("group_id", Str("g"))]));
    let sources = variables(sources(""), &[("KAFKA_LISTENER__LISTENERS__RESERVE_STOCK__CONCURRENCY", "3")]);
    insta::assert_snapshot!(refused(resolve(&sources, &definitions)));
}

#[test]
fn builder() {
    let sources = Sources {
        set: vec![
            ("listener..ack_mode".to_owned(), "batch".into()),
            ("listener.concurrency".to_owned(), 0.into()),
            ("listeners.\"reserve_stock.consumers".to_owned(), 3.into()),
            ("kafka.properties.group.id".to_owned(), "hunter2".into()),
            ("kafka.sasl.password".to_owned(), 3.into()),
        ],
        profiles: Some(vec!["nowhere".to_owned()]),
        only: Some(vec!["reserve_stock".to_owned(), "gone".to_owned()]),
        without_discovery: true,
        ..sources("")
    };
    insta::assert_snapshot!(report(&sources));
}

#[test]
fn files_that_are_named_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let in_directory = |file| Sources { file, directory: Some(directory.path().to_owned()), ..sources("") };
    let by_builder = in_directory(crate::config::ConfigSource::File("missing/kafka-listener.toml".into()));
    let by_variable = variables(
        in_directory(crate::config::ConfigSource::Lookup),
        &[("KAFKA_LISTENER_CONFIG", "missing/kafka-listener.toml")],
    );
    insta::assert_snapshot!([report(&by_builder), report(&by_variable)].join("\n\n"));
}

#[test]
fn classes_that_no_error_can_have() {
    let listeners = |toml: &str| {
        let mut shop = shop();
        shop[0].error_names = || Some(&["out-of-stock", "busy"]);
        shop[1].error_names = || Some(&[]);
        resolve(&sources(toml), &shop)
    };
    let wrong = [
        "[listeners.reserve_stock]\non_failure = { out_of_stok = 'skip' }",
        "[listeners.reserve_stock]\non_failure = { declined = 'skip' }",
        "[listeners.request_payment]\non_failure.busy = 'skip'",
        "[listener]\non_failure.declined = { attempts = 3 }",
    ];
    let reports: Vec<String> = wrong.iter().map(|toml| format!("{toml}\n\n{}\n", refused(listeners(toml)))).collect();
    insta::assert_snapshot!(reports.join("\n────\n\n"));

    let shared = listeners("[listener]\non_failure = { busy = 'skip', timeout = 'skip' }").unwrap();
    assert!(shared.warnings.is_empty(), "one of the two has it: {:?}", shared.warnings);
}

#[test]
fn a_listener_that_names_a_type_takes_no_codec_of_its_own_block() {
    let resolve = |toml: &str| {
        let mut shop = shop();
        shop[0].requirements = |requirements| requirements.has_own_codec = true;
        resolve(&sources(toml), &shop)
    };
    insta::assert_snapshot!(refused(resolve("[listeners.reserve_stock]\ncodec = 'string'")));
    let shared = resolve("[listener]\ncodec = 'bytes'").unwrap();
    let codecs: Vec<_> = shared.listeners.iter().map(|listener| listener.settings.codec).collect();
    assert_eq!(codecs, [Codec::Bytes, Codec::Bytes]);
}
