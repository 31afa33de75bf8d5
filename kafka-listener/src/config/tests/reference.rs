//! What is generated from the table of keys: the schema for editors and the tables of the reference page.
//!
//! `UPDATE_GENERATED=1 cargo test -p kafka-listener config::tests::reference` writes both anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{resolve, shop, sources};
use crate::config::keys::{self, Key, Kind};
use crate::config::parse::{spell, spell_size};
use crate::config::{group, json_schema, lint, parse, producer, properties, value};

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

/// Compares a generated file with what it should be, or writes it.
fn check_generated(file: &str, expected: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(docs(file), expected).unwrap();
    }
    let current = std::fs::read_to_string(docs(file)).unwrap_or_default();
    assert!(
        current == expected,
        "docs/{file} is not current; run UPDATE_GENERATED=1 cargo test -p kafka-listener config::tests::reference"
    );
}

#[test]
fn schema_file_is_current() {
    let text = serde_json::to_string_pretty(&json_schema()).unwrap();
    check_generated("kafka-listener.schema.json", &format!("{text}\n"));
}

#[test]
fn reference_page_has_every_key_as_the_table_of_keys_has_it() {
    let mut page = std::fs::read_to_string(docs("configuration.md")).unwrap();
    for (name, spec) in BLOCKS {
        page = replace_block(&page, name, &rows(spec));
    }
    check_generated("configuration.md", &page);
}

const BLOCKS: &[(&str, &[Key])] = &[
    ("root", keys::ROOT),
    ("kafka", keys::KAFKA),
    ("kafka.sasl", keys::SASL),
    ("kafka.producer", keys::PRODUCER),
    ("kafka.tls", keys::TLS),
    ("listener", keys::LISTENER),
    ("retry", keys::listener::RETRY),
    ("retry_topics", keys::listener::RETRY_TOPICS),
    ("on_failure", keys::CLASS),
    ("dead_letter", keys::listener::DEAD_LETTER),
    ("limits", keys::listener::LIMITS),
];

/// Puts `rows` between the comments that mark the block.
fn replace_block(page: &str, name: &str, rows: &str) -> String {
    let (begin, end) = (format!("<!-- keys: {name} -->\n"), "<!-- end of keys -->");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no block `{name}`"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("block `{name}` has no end"));
    format!("{before}{begin}{rows}{end}{after}")
}

fn rows(spec: &[Key]) -> String {
    let mut rows = "| key | meaning | type | default | librdkafka | Spring |\n|---|---|---|---|---|---|\n".to_owned();
    for key in spec {
        let default = match (key.default, key.default_from) {
            (None, "") => String::new(),
            (None | Some(""), from) => from.to_owned(),
            (Some(default), from) => format!("`{default}`: {from}"),
        };
        let owned: Vec<String> = key.owned_properties().map(|name| format!("`{name}`")).collect();
        let attribute = if key.attribute { " (also in the attribute)" } else { "" };
        let spring = if key.spring.is_empty() { String::new() } else { format!("`{}`", key.spring) };
        let (name, doc, kind) = (key.name, key.doc, kind(key));
        writeln!(rows, "| `{name}` | {doc}{attribute} | {kind} | {default} | {} | {spring} |", owned.join(" "))
            .unwrap();
    }
    rows
}

fn kind(key: &Key) -> String {
    let millis = |millis| spell(std::time::Duration::from_millis(millis));
    let choices = |choices: &[&str]| choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    match key.kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer { min, max } if min == max => format!("`{min}`"),
        Kind::Integer { min, max } => format!("integer, {min} to {max}"),
        Kind::Float { min, max } => format!("number, {min:?} to {max:?}"),
        Kind::Duration { min, max } => format!("duration, {} to {}", millis(min), millis(max)),
        Kind::Durations { min, max } => format!("list of durations, {} to {}", millis(min), millis(max)),
        Kind::Size { min, max } => format!("size, {} to {}", spell_size(min), spell_size(max)),
        Kind::Text if key.secret => "string, never shown".to_owned(),
        Kind::Text => "string".to_owned(),
        Kind::Texts => "string or list".to_owned(),
        Kind::Choice(names) => choices(names),
        Kind::OffsetReset => "`earliest`, `latest`, `error`, `by_duration:…`".to_owned(),
        Kind::Partitions => "string, or table of strings by topic".to_owned(),
        Kind::InitialOffset => "integer or string".to_owned(),
        Kind::Assignors => format!("{} or a list", choices(keys::ASSIGNORS)),
        Kind::OnFailure => format!("{} or a table", choices(keys::ACTIONS)),
        Kind::Properties | Kind::ProducerProperties => "table by librdkafka's names".to_owned(),
        Kind::Free => "table".to_owned(),
        Kind::Table(_) => "table, below".to_owned(),
        Kind::Named(_) => "tables by name".to_owned(),
    }
}

/// Every key, tables inside of tables included.
fn every_key(spec: &'static [Key], visit: &mut impl FnMut(&'static Key)) {
    for key in spec {
        visit(key);
        if let Kind::Table(inner) | Kind::Named(inner) = key.kind {
            every_key(inner, visit);
        }
    }
}

#[test]
fn the_page_names_every_property_that_is_set_without_a_key() {
    let page = std::fs::read_to_string(docs("configuration.md")).unwrap();
    let (_, section) = page.split_once("## librdkafka's own properties\n").expect("the page has the section");
    for (name, _) in group::BUILT_IN.iter().chain(producer::BUILT_IN) {
        assert!(section.contains(&format!("`{name}`")), "`{name}`");
    }
}

#[test]
fn every_default_is_a_legal_value() {
    every_key(keys::ROOT, &mut |key| {
        if let Some(default) = key.default {
            let node = value::Node::loose(default, value::Origin::Default);
            lint::typed(key, &node).unwrap_or_else(|problem| panic!("`{}`: {}", key.name, problem.message));
        }
    });
}

#[test]
fn a_table_is_known_by_its_keys_and_not_by_its_address() {
    for (name, spec) in BLOCKS {
        let elsewhere: Vec<Key> = spec.iter().map(|key| Key { ..*key }).collect();
        for (other, table) in BLOCKS {
            assert_eq!(keys::is_same_table(&elsewhere, table), name == other, "`{name}` and `{other}`");
        }
    }
}

#[test]
fn every_key_of_a_profile_is_one_of_the_top_level() {
    for key in keys::PROFILE {
        let of_root = keys::find(keys::ROOT, key.name);
        let same = of_root.is_some_and(|of_root| format!("{:?}", of_root.kind) == format!("{:?}", key.kind));
        assert!(same, "`{}`", key.name);
    }
}

#[test]
fn no_property_is_both_owned_and_allowed() {
    every_key(keys::ROOT, &mut |key| {
        for owned in key.owned_properties() {
            assert!(properties::allowed().all(|allowed| allowed != owned), "`{owned}`");
            assert!(properties::allowed_for_producer().all(|allowed| allowed != owned), "`{owned}`");
        }
    });
    let mut allowed: Vec<&str> = properties::allowed().collect();
    let count = allowed.len();
    allowed.sort_unstable();
    allowed.dedup();
    assert_eq!(allowed.len(), count);
}

#[test]
fn spelled_durations_and_sizes_are_read_back() {
    let key = keys::known(keys::LISTENER, "max_poll_interval");
    let text = value::Node::loose(spell(std::time::Duration::from_millis(90_500)), value::Origin::Default);
    assert_eq!(parse::duration(key, &text).ok(), Some(std::time::Duration::from_millis(90_500)));
    let key = keys::known(keys::listener::LIMITS, "max_payload");
    let text = value::Node::loose(spell_size(3 << 20), value::Origin::Default);
    assert_eq!(parse::size(key, &text).ok(), Some(3 << 20));
}

/// The file of the reference page, as a user would copy it.
fn example() -> String {
    let page = std::fs::read_to_string(docs("configuration.md")).unwrap();
    let (_, rest) = page.split_once("```toml\nconfig_version").expect("the page shows a whole file");
    let (body, _) = rest.split_once("```").expect("the block is closed");
    format!("config_version{body}")
}

fn to_json(toml: &str) -> serde_json::Value {
    let value: toml::Value = toml::from_str(toml).unwrap();
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_example_of_the_page_is_right_and_the_schema_says_so() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let example = example();
    let errors: Vec<String> = validator.iter_errors(&to_json(&example)).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    resolve(&sources(&example), &shop()).unwrap();
}

#[test]
fn the_schema_refuses_unknown_keys_wherever_the_reader_does() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for toml in [
        "concurrency = 3",
        "[kafka]\nbootstrap_server = 'a:1'",
        "[kafka.sasl]\nuser = 'x'",
        "[kafka.tls]\ntruststore = 'x'",
        "[kafka.producer]\nlinger_ms = 5",
        "[kafka.producer.properties]\n'fetch.min.bytes' = 5",
        "[kafka.properties]\n'group.id' = 'x'",
        "[listener]\nhandler_limit = '1s'",
        "[listener.retry]\nmax_attempts = 3",
        "[listener.limits]\nrecords = 3",
        "[listener.on_failure]\ntimeout = { action = 'skip' }",
        "[listener.on_failure]\ndecode = { attempts = 3 }",
        "[container_factories.a]\nordering = 'key'",
        "[listeners.reserve_stock]\ntopic_patterns = 'a.*'",
        "[profiles.dev]\nprofiles = {}",
        "[profiles.dev.listeners.reserve_stock]\npartitions = [1]",
    ] {
        assert!(!validator.is_valid(&to_json(toml)), "the schema accepts {toml:?}");
        resolve(&sources(toml), &shop()).expect_err(toml);
    }
}
