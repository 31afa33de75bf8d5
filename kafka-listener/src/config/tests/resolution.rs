//! What right configurations come to.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{definition, resolved, shop, sources, variables};
use crate::config::{
    AckMode, AutoOffsetReset, ConfigSource, FailurePolicies, FailurePolicy, OnFailure, Resolved, ResolvedListener,
    RetrySettings, Sources, Value, resolve,
};
use crate::definition::AttributeValue::{Int, List, Str};
use crate::failure::ErrorClass;

fn property(listener: &ResolvedListener, name: &str) -> Option<String> {
    let properties = &listener.settings.client_properties;
    properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.expose_secret().to_owned())
}

fn listener<'r>(resolved: &'r Resolved, id: &str) -> &'r ResolvedListener {
    resolved.listeners.iter().find(|listener| listener.settings.id == id).expect("the listener runs")
}

fn ids(resolved: &Resolved) -> Vec<&str> {
    resolved.listeners.iter().map(|listener| listener.settings.id.as_str()).collect()
}

/// `reserve_stock` with this in its own block.
fn stock_with(toml: &str) -> ResolvedListener {
    resolved(&sources(&format!("only = ['reserve_stock']\n[listeners.reserve_stock]\n{toml}"))).listeners.remove(0)
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
        max_elapsed: None,
    };
    let policy = FailurePolicy { retry, action: OnFailure::Hold };
    assert_eq!(stock.settings.failures, FailurePolicies { default: policy, by_class: Vec::new() });
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
        on_failure = { panic = "hold", terminal = "stop" }
        [container_factories.slow]
        consumers = 3
        retry.max_delay = "5m"
        on_failure = "skip"
        [listeners.reserve_stock]
        consumers = 4
        retry.attempts = 9
        on_failure = { decode = "stop", out_of_stock = "hold" }
    "#;
    let resolved = resolved(&sources(toml));
    let (payment, stock) = (listener(&resolved, "request_payment"), listener(&resolved, "reserve_stock"));
    assert_eq!((payment.settings.consumers, stock.settings.consumers), (3, 4));
    let retry = |listener: &ResolvedListener| listener.settings.failures.default.retry;
    assert_eq!((retry(payment).attempts, retry(stock).attempts), (Some(3), Some(9)));
    assert_eq!(retry(stock).delay, Duration::from_secs(1));
    assert_eq!(retry(stock).max_delay, Duration::from_secs(300));
    let action = |class| stock.settings.failures.of(&class).action;
    assert_eq!(action(ErrorClass::Decode), OnFailure::Stop);
    assert_eq!(action(ErrorClass::Named("out_of_stock".into())), OnFailure::Hold);
    // The factory's single action replaced the table below it.
    assert_eq!((action(ErrorClass::Panic), action(ErrorClass::Terminal)), (OnFailure::Skip, OnFailure::Skip));
}

#[test]
fn a_class_falls_back_to_retry_key_by_key_and_to_the_default_action() {
    let toml = r#"
        [listener]
        retry = { attempts = 5, delay = "1s", max_elapsed = "1h" }
        on_failure = { default = "skip", timeout = "stop", panic = { attempts = 2 }, busy = { jitter = 0.0 } }
        [listeners.reserve_stock]
        retry.attempts = 9
        on_failure.timeout = { attempts = 3, delay = "10s", multiplier = 1 }
        on_failure.panic = "hold"
        on_failure.busy = { max_delay = "1m", on_failure = "stop" }
    "#;
    let resolved = resolved(&sources(toml));
    let stock = &listener(&resolved, "reserve_stock").settings.failures;
    let base = stock.default.retry;
    assert_eq!((stock.default.action, base.attempts), (OnFailure::Skip, Some(9)));
    assert_eq!(base.max_elapsed, Some(Duration::from_secs(3600)));

    let timeout = RetrySettings { attempts: Some(3), delay: Duration::from_secs(10), multiplier: 1.0, ..base };
    let policy = FailurePolicy { retry: timeout, action: OnFailure::Stop };
    assert_eq!(*stock.of(&ErrorClass::Timeout), policy, "a table keeps the action below it");
    let policy = FailurePolicy { retry: base, action: OnFailure::Hold };
    assert_eq!(*stock.of(&ErrorClass::Panic), policy, "an action replaces the table below it");
    let busy = RetrySettings { jitter: 0.0, max_delay: Duration::from_secs(60), ..base };
    let policy = FailurePolicy { retry: busy, action: OnFailure::Stop };
    assert_eq!(*stock.of(&ErrorClass::Named("busy".into())), policy, "tables are merged");
    assert_eq!(*stock.of(&ErrorClass::Retryable), stock.default);
}

#[test]
fn every_setting_is_described_with_its_origin() {
    let file = "[kafka]\nproperties = { 'client.rack' = 'a', 'topic.blacklist' = '^x' }
[listener]\nsession_timeout = 45000\non_failure = { decode = 'skip', timeout = { attempts = 2 } }\n[listeners.reserve_stock]\nretry.attempts = '${N:-7}'";
    let sources = Sources {
        set: vec![("listener.consumers".to_owned(), 2.into())],
        ..variables(sources(file), &[("KAFKA_LISTENER__LISTENERS__RESERVE_STOCK__CONCURRENCY", "6")])
    };
    let resolved = resolved(&sources);
    let stock = listener(&resolved, "reserve_stock");
    let lines: Vec<String> = resolved
        .kafka
        .iter()
        .chain(stock.describe())
        .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.origin))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn values_are_taken_in_every_form() {
    let stock = stock_with(
        "session_timeout = 46_000\nmax_poll_interval = '1h 30m'\nprefetch = '1.5MiB'\nfetch_min_bytes = '2kB'
         auto_offset_reset = 'by_duration:90m'\nack_mode = 'COUNT-TIME'\nack_count = 7\nretry.multiplier = 3
         partition_assignment_strategy = ['org.apache.kafka.clients.consumer.RangeAssignor', 'roundrobin']",
    );
    let settings = &stock.settings;
    assert_eq!(settings.session_timeout, Duration::from_secs(46));
    assert_eq!(settings.max_poll_interval, Duration::from_secs(5400));
    assert_eq!(settings.auto_offset_reset, AutoOffsetReset::ByDuration(Duration::from_secs(5400)));
    assert_eq!((settings.ack_mode, settings.ack_count), (AckMode::CountTime, 7));
    for (name, value) in [
        ("auto.offset.reset", "error"),
        ("max.poll.interval.ms", "5400000"),
        ("queued.max.messages.kbytes", "1536"),
        ("fetch.min.bytes", "2000"),
        ("partition.assignment.strategy", "range,roundrobin"),
    ] {
        assert_eq!(property(&stock, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_group_that_the_broker_runs_is_not_told_what_the_broker_decides() {
    let stock = stock_with("group_protocol = 'consumer'\ngroup_remote_assignor = 'range'\ngroup_instance_id = 'pod-1'");
    assert_eq!(property(&stock, "group.protocol").as_deref(), Some("consumer"));
    assert_eq!(property(&stock, "group.remote.assignor").as_deref(), Some("range"));
    for owned_by_the_broker in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
        assert_eq!(property(&stock, owned_by_the_broker), None, "{owned_by_the_broker}");
    }
    assert_eq!(stock.settings.group_instance_id.as_deref(), Some("pod-1"));
    assert!(stock.notes.iter().any(|note| note.contains("experimental")), "{:?}", stock.notes);
}

#[test]
fn what_only_the_classic_protocol_reads_may_stand_where_one_listener_uses_it() {
    let toml = "[listener]\nsession_timeout = '10s'\n[listeners.reserve_stock]\ngroup_protocol = 'consumer'";
    let resolved = resolved(&sources(toml));
    let session = |id: &str| {
        let listener = resolved.listeners.iter().find(|listener| listener.settings.id == id).unwrap();
        (listener.settings.session_timeout, property(listener, "session.timeout.ms"))
    };
    assert_eq!(session("request_payment"), (Duration::from_secs(10), Some("10000".to_owned())));
    assert_eq!(session("reserve_stock"), (Duration::from_secs(45), None));
}

#[test]
fn auto_commit_is_by_time_over_finished_records_and_says_so() {
    let stock = stock_with("enable_auto_commit = true\nauto_commit_interval = '2s'");
    assert_eq!((stock.settings.ack_mode, stock.settings.ack_time), (AckMode::Time, Duration::from_secs(2)));
    assert_eq!(property(&stock, "enable.auto.commit").as_deref(), Some("false"));
    assert_eq!(stock.notes, ["enable_auto_commit: finished records are committed every 2s, as by ack_mode = \"time\""]);
}

#[test]
fn a_shared_setting_is_in_order_where_one_listener_reads_it() {
    let resolved = resolved(&sources("[listener]\nack_time = '1s'\n[listeners.reserve_stock]\nack_mode = 'time'"));
    assert_eq!(listener(&resolved, "reserve_stock").settings.ack_time, Duration::from_secs(1));
}

#[test]
fn raw_properties_win_over_built_in_ones_by_scope() {
    let toml = "
        [kafka.properties]
        'check.crcs' = false
        client.rack = 'cluster'
        [listener.properties]
        'queued.min.messages' = 7
        [listeners.reserve_stock.properties]
        'client.rack' = 'own'";
    let resolved = resolved(&sources(toml));
    let (payment, stock) = (listener(&resolved, "request_payment"), listener(&resolved, "reserve_stock"));
    assert_eq!(property(payment, "client.rack").as_deref(), Some("cluster"));
    for (name, value) in [("check.crcs", "false"), ("queued.min.messages", "7"), ("client.rack", "own")] {
        assert_eq!(property(stock, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn placeholders_look_into_the_environment_then_the_app_table() {
    let toml = "
        [app]
        orders-topic = 'from-app'
        group = '${PREFIX:-shop}-stock'
        workers = 4
        empty = 'app'
        [app.deep]
        topic = 'deep'
        [listeners.reserve_stock]
        topics = ['${app.orders-topic}', '${deep.topic}', '${EXACT}', '${NOT_SET:-${ALSO_NOT:-nested}}', '${empty}']
        group_id = '${group}$$'
        concurrency = '${workers}'";
    let environment = [("APP_ORDERS_TOPIC", "from-environment"), ("EXACT", "${literal}"), ("empty", "")];
    let error = resolve(&variables(sources(toml), &environment), &shop()).expect_err("a literal placeholder");
    assert!(error.to_string().contains("`${literal}` is not the name of a topic"), "{error}");

    let environment = [("APP_ORDERS_TOPIC", "from-environment"), ("EXACT", "a,b"), ("empty", "")];
    let resolved = resolved(&variables(sources(toml), &environment));
    let stock = &listener(&resolved, "reserve_stock").settings;
    assert_eq!(stock.topics, ["from-environment", "deep", "a", "b", "nested", "app"]);
    assert_eq!(stock.group_id, "shop-stock$");
    assert_eq!(stock.concurrency, Some(4));
}

#[test]
fn a_secret_file_loses_one_newline_and_may_be_missing_with_a_default() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n\n").unwrap();
    let toml =
        format!("client_id = '${{file:{}}}'\ngroup_id = '${{file:/does/not/exist:-fallback}}'", file.path().display());
    let stock = stock_with(&toml);
    assert_eq!((stock.settings.client_id.as_str(), stock.settings.group_id.as_str()), ("first\n", "fallback"));
}

#[test]
fn the_environment_reaches_every_block_and_type() {
    let toml =
        "[container_factories.message-event]\n[listener]\ncontainer_factory = 'message-event'\n[app]\nthe-topic = 'a'
[listeners.reserve_stock]\ntopic = '${the-topic}'";
    let environment = [
        ("KAFKA_LISTENER__KAFKA__BOOTSTRAP_SERVERS", "a:1, b:2"),
        ("KAFKA_LISTENER__KAFKA__PROPERTIES", r#"{"client.rack":"a","socket.keepalive.enable":true}"#),
        ("KAFKA_LISTENER__CONTAINER_FACTORIES__MESSAGE_EVENT__ON_FAILURE__DECODE", "skip"),
        ("KAFKA_LISTENER__LISTENERS__RESERVE_STOCK__CONCURRENCY", "6"),
        ("KAFKA_LISTENER__LISTENERS__Request_Payment__Auto_Startup", "false"),
        ("KAFKA_LISTENER__LISTENER__RETRY__ATTEMPTS", "5"),
        ("KAFKA_LISTENER__LISTENER__LIMITS", r#"{"in_flight_records": 9}"#),
        ("KAFKA_LISTENER__APP__THE_TOPIC", "b"),
        ("KAFKA_LISTENER__EXPECTED", "reserve_stock,request_payment"),
        ("KAFKA_LISTENER_SERVICE_HOST", "not ours"),
    ];
    let resolved = resolved(&variables(sources(toml), &environment));
    let (payment, stock) = (listener(&resolved, "request_payment"), listener(&resolved, "reserve_stock"));
    assert_eq!(stock.settings.concurrency, Some(6));
    assert_eq!(stock.settings.topics, ["b"]);
    assert_eq!(stock.settings.failures.of(&ErrorClass::Decode).action, OnFailure::Skip);
    assert_eq!((stock.settings.failures.default.retry.attempts, stock.settings.limits.in_flight_records), (Some(5), 9));
    assert!(!payment.settings.auto_startup);
    assert_eq!(property(stock, "socket.keepalive.enable").as_deref(), Some("true"));
    assert_eq!(property(stock, "bootstrap.servers").as_deref(), Some("a:1,b:2"));
}

#[test]
fn the_builder_takes_lists_tables_and_names_with_dots() {
    let retry = std::collections::BTreeMap::from([("attempts".to_owned(), Value::from(3))]);
    let sources = Sources {
        set: vec![
            ("listener.topics".to_owned(), ["a", "b"].into()),
            ("listeners.\"my.listener\".group_id".to_owned(), "${literal}".into()),
            ("listener.retry".to_owned(), retry.into()),
            ("listener.retry.delay".to_owned(), Duration::from_secs(1).into()),
            ("kafka.properties.client.rack".to_owned(), "first".into()),
            ("kafka.properties.client.rack".to_owned(), "second".into()),
        ],
        ..sources("")
    };
    let resolved = resolve(&sources, &[definition("my.listener", 1, &[])]).unwrap();
    let settings = &resolved.listeners[0].settings;
    assert_eq!(
        (settings.topics.as_slice(), settings.group_id.as_str()),
        (&["a".to_owned(), "b".to_owned()][..], "${literal}")
    );
    assert_eq!(
        (settings.failures.default.retry.attempts, settings.failures.default.retry.delay),
        (Some(3), Duration::from_secs(1))
    );
    assert_eq!(property(&resolved.listeners[0], "client.rack").as_deref(), Some("second"));
}

#[test]
fn attributes_are_a_layer_of_their_own() {
    let attributes = [
        ("topics", List(&["${TOPIC:-orders}", "returns"])),
        ("group_id", Str("g")),
        ("concurrency", Int(3)),
        ("ack_mode", Str("record")),
        ("properties", List(&["client.rack=${RACK:-r1}"])),
    ];
    let resolved = resolve(&sources("[listener]\nconcurrency = 9"), &[definition("a", 1, &attributes)]).unwrap();
    let settings = &resolved.listeners[0].settings;
    assert_eq!(settings.topics, ["orders", "returns"]);
    assert_eq!((settings.concurrency, settings.ack_mode), (Some(3), AckMode::Record));
    assert_eq!(property(&resolved.listeners[0], "client.rack").as_deref(), Some("r1"));
}

#[test]
fn only_and_profiles_choose_who_runs() {
    let profiles = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let toml = "[listeners.reserve_stock]\nprofiles = ['dev', '!eu']\n[profiles.eu]\n[listeners.request_payment]\nprofiles = 'dev'";
    for (active, running) in [
        (profiles(&[]), vec!["reserve_stock"]),
        (profiles(&["dev"]), vec!["request_payment", "reserve_stock"]),
        (profiles(&["eu"]), vec![]),
        (profiles(&["eu", "dev"]), vec!["request_payment", "reserve_stock"]),
    ] {
        let resolved = resolved(&Sources { profiles: active.clone(), ..sources(toml) });
        assert_eq!(ids(&resolved), running, "{active:?}");
        assert_eq!(resolved.left_out.len(), 2 - running.len());
    }
    assert_eq!(ids(&resolved(&sources("only = ['reserve_stock']"))), ["reserve_stock"]);
    let only = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    let by_builder = Sources { only: only(&["request_payment"]), ..sources("only = ['reserve_stock']") };
    assert_eq!(ids(&resolved(&by_builder)), ["request_payment"]);
    assert_eq!(ids(&resolved(&Sources { only: only(&[]), ..sources("") })), ["request_payment", "reserve_stock"]);
}

#[test]
fn a_listener_that_does_not_run_is_not_asked_for_its_settings() {
    let toml = "only = ['reserve_stock']\n[listeners.request_payment]\ngroup_id = '${NOT_SET}'";
    assert_eq!(ids(&resolved(&sources(toml))), ["reserve_stock"]);
}

#[test]
fn at_most_once_tries_once_and_skips_whatever_the_shared_settings_say() {
    let toml =
        "[listener]\nretry.attempts = 5\non_failure = 'hold'\n[listeners.reserve_stock]\nack_mode = 'at_most_once'";
    let resolved = resolved(&sources(toml));
    let failures: Vec<_> = resolved.listeners.iter().map(|one| one.settings.failures.default).collect();
    assert_eq!((failures[0].retry.attempts, failures[0].action), (Some(5), OnFailure::Hold));
    assert_eq!((failures[1].retry.attempts, failures[1].action), (Some(1), OnFailure::Skip));
    assert_eq!(resolved.listeners[1].notes.len(), 2);
}

#[test]
fn a_listener_found_and_registered_runs_once() {
    let twice: Vec<_> = shop().into_iter().chain(shop()).collect();
    assert_eq!(ids(&resolve(&sources(""), &twice).unwrap()), ["request_payment", "reserve_stock"]);
}

#[test]
fn a_group_may_be_shared_where_both_listeners_say_so() {
    let toml = "[listener]\nshared_group = true\n[listeners.reserve_stock]\ngroup_id = 'order-service'";
    assert!(resolved(&sources(toml)).warnings.is_empty());
}

#[test]
fn what_is_legal_but_doubtful_is_warned_of_once() {
    let toml = "
        [listener]
        group_id = 'x'
        heartbeat_interval = '20s'
        on_failure = { decod = 'skip' }
        [listeners.reserve_stock]
        group_id = 'order-service'
        topic = 'returns'";
    insta::assert_snapshot!(resolved(&sources(toml)).warnings.join("\n"));
}

mod files {
    use super::*;

    fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn consumers(sources: &Sources) -> usize {
        listener(&resolved(sources), "reserve_stock").settings.consumers
    }

    #[test]
    fn the_builders_file_beats_the_variables_beats_the_working_directorys() {
        let directory = tempfile::tempdir().unwrap();
        let lookup =
            Sources { file: ConfigSource::Lookup, directory: Some(directory.path().to_owned()), ..sources("") };
        assert_eq!(consumers(&lookup), 1, "the file is optional");
        write(&directory, "kafka-listener.toml", "listener.consumers = 2");
        assert_eq!(consumers(&lookup), 2);
        let by_variable = write(&directory, "variable.toml", "listener.consumers = 3");
        let variable = variables(lookup, &[("KAFKA_LISTENER_CONFIG", &by_variable.display().to_string())]);
        assert_eq!(consumers(&variable), 3);
        let by_builder = write(&directory, "builder.toml", "listener.consumers = 4");
        assert_eq!(consumers(&Sources { file: ConfigSource::File(by_builder), ..variable }), 4);
    }

    #[test]
    fn each_profiles_table_and_then_its_file_are_laid_over_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let main = write(
            &directory,
            "shop.toml",
            "[listener]\nconsumers = 1\nconcurrency = 1\nack_mode = 'record'\n[profiles.dev.listener]\nconsumers = 2\nconcurrency = 2
[profiles.eu.listener]\nconsumers = 4",
        );
        write(&directory, "kafka-listener-dev.toml", "[listener]\nconsumers = 3\nconcurrency = 3");
        let with = |profiles: &str| {
            let sources = Sources { file: ConfigSource::File(main.clone()), ..sources("") };
            let resolved = resolved(&variables(sources, &[("KAFKA_LISTENER_PROFILES", profiles)]));
            let settings = &listener(&resolved, "reserve_stock").settings;
            (settings.consumers, settings.concurrency, settings.ack_mode)
        };
        assert_eq!(with(""), (1, Some(1), AckMode::Record));
        assert_eq!(with("dev"), (3, Some(3), AckMode::Record));
        assert_eq!(with("dev, eu"), (4, Some(3), AckMode::Record));
        assert_eq!(with("eu,dev"), (3, Some(3), AckMode::Record));
    }

    #[test]
    fn profiles_do_not_nest() {
        let directory = tempfile::tempdir().unwrap();
        let main = write(&directory, "kafka-listener.toml", "");
        write(&directory, "kafka-listener-dev.toml", "[profiles.eu]\r\n");
        let sources = Sources { file: ConfigSource::File(main), profiles: Some(vec!["dev".to_owned()]), ..sources("") };
        let report = super::super::report(&sources);
        let (_, problem) = report.split_once("kafka-listener-dev.toml:").expect("the file is named");
        assert_eq!(
            problem,
            "1:2: the tables of profiles belong into the main file\n  |\n1 | [profiles.eu]\n  |  ^^^^^^^^"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_password_in_a_file_for_everybody_is_warned_of() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let toml = "[kafka]\nallow_insecure = true\nsecurity_protocol = 'sasl_plaintext'
sasl = { mechanism = 'PLAIN', username = 'u', password = 'hunter2' }";
        let path = write(&directory, "kafka-listener.toml", toml);
        let warnings = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            resolved(&Sources { file: ConfigSource::File(path.clone()), ..sources("") }).warnings
        };
        assert!(warnings(0o600).is_empty());
        let [warning] = &warnings(0o644)[..] else { panic!("one warning") };
        assert!(warning.contains("`kafka.sasl.password` is a secret in a file"), "{warning}");
        assert!(!warning.contains("hunter2"));
    }
}
