//! Whatever stands in a file, the answer is settings or a report: never a panic, never without bound.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{shop, sources, variables};
use crate::config::placeholders::Placeholders;
use crate::config::value::{Node, Origin, Tree};
use crate::config::{keys, resolve, value};

/// Pieces that mean something to the resolver, in any order.
fn placeholder_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec!["${", "}", ":-", "$", "$$", "file:", "file:/dev/null", "A", "app.", "b", ".", "é", "\0", " "])
            .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn attribute(text: &str) -> Node {
    Node::new(Tree::Text(text.to_owned()), Origin::Attribute { file: "src/a.rs", line: 1, column: 1 })
}

proptest! {
    #[test]
    fn placeholders_resolve_or_are_refused(text in placeholder_text(), app in placeholder_text()) {
        let environment = BTreeMap::from([("A".to_owned(), "${A}".to_owned())]);
        let entry = value::Entry { key: Origin::Default, node: attribute(&app) };
        let table = value::Table::from([("b".to_owned(), entry)]);
        let placeholders = Placeholders { environment: &environment, app: Some(&table) };
        if let Ok(node) = placeholders.resolve(&attribute(&text)) {
            prop_assert!(matches!(node.value, Tree::Text(_)));
            prop_assert!(text.contains('$') || node.to_text() == text);
        }
    }

    #[test]
    fn escaped_text_comes_out_as_it_was(text in "\\PC{0,40}") {
        let placeholders = Placeholders { environment: &BTreeMap::new(), app: None };
        let resolved = placeholders.resolve(&attribute(&text.replace('$', "$$")));
        prop_assert_eq!(resolved.map(|node| node.to_text()).ok(), Some(text));
    }

    #[test]
    fn any_text_is_settings_or_a_report(text in "\\PC{0,200}") {
        answer(&text);
    }

    #[test]
    fn any_tokens_are_settings_or_a_report(tokens in vec(token(), 0..60)) {
        answer(&tokens.concat());
    }

    #[test]
    fn known_keys_with_any_values_are_settings_or_a_report(
        values in btree_map(key_path(), any_value(), 0..12),
    ) {
        let lines: Vec<String> = values.iter().map(|(path, value)| format!("{path} = {value}")).collect();
        answer(&lines.join("\n"));
    }

    #[test]
    fn any_environment_is_settings_or_a_report(
        paths in vec((vec("[A-Za-z_]{1,12}", 1..4), "\\PC{0,20}"), 0..5),
        known in vec((key_path(), "\\PC{0,20}"), 0..5),
    ) {
        let free = paths.into_iter().map(|(parts, value)| (parts.join("__"), value));
        let known = known.into_iter().map(|(path, value)| (path.replace('.', "__").to_uppercase(), value));
        let all: Vec<(String, String)> =
            free.chain(known).map(|(path, value)| (format!("KAFKA_LISTENER__{path}"), value)).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Err(error) = resolve(&variables(sources(""), &all), &shop()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

fn answer(toml: &str) {
    if let Err(error) = resolve(&sources(toml), &shop()) {
        assert!(error.problems().count() > 0);
        assert!(!error.to_string().is_empty());
    }
}

fn token() -> impl Strategy<Value = String> {
    let words = ["[", "]", "[[", "{", "}", "=", ".", ",", "\"", "'", "\"\"\"", "\n", "#", " ", "\\", "-", "1", "1e9"];
    let names = ["listener", "kafka", "properties", "retry", "listeners", "reserve_stock", "true", "a", "inf", "0x"];
    select([&words[..], &names[..]].concat()).prop_map(str::to_owned)
}

fn key_path() -> impl Strategy<Value = String> {
    let mut paths: Vec<String> =
        ["only", "expected", "app", "listener", "kafka", "profiles.a"].map(str::to_owned).into();
    for block in ["listener", "container_factories.a", "listeners.reserve_stock", "profiles.a.listener"] {
        paths.extend(keys::LISTENER.iter().map(|key| format!("{block}.{}", key.name)));
        paths.extend(keys::listener::RETRY.iter().map(|key| format!("{block}.retry.{}", key.name)));
        paths.extend(keys::CLASS.iter().map(|key| format!("{block}.on_failure.timeout.{}", key.name)));
    }
    paths.extend(keys::KAFKA.iter().map(|key| format!("kafka.{}", key.name)));
    select(paths)
}

fn any_value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "[a-z0-9${}:. -]{0,12}".prop_map(|text| format!("'{text}'")),
        select(vec!["'18446744073709551615s'", "'1000000000000y'", "'99999999999 TiB'", "'1e400'", "''", "'skip'"])
            .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

#[test]
fn deep_nesting_is_refused() {
    for toml in [
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{}]", vec!["app"; 100_000].join(".")),
        format!("app.a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("app.a = {}{}", "{a = ".repeat(100_000), "}".repeat(100_000)),
    ] {
        answer(&toml);
        resolve(&sources(&toml), &shop()).expect_err("too deep");
    }
}

#[test]
fn values_that_multiply_each_other_are_bounded() {
    let mut toml = "[listeners.reserve_stock]\ngroup_id = '${a0}'\n[app]\n".to_owned();
    for level in 0..12 {
        writeln!(toml, "a{level} = '{}'", format!("${{a{}}}", level + 1).repeat(10)).unwrap();
    }
    toml.push_str("a12 = 'x'\n");
    let report = super::report(&sources(&toml));
    assert!(report.contains("more than 256 placeholders"), "{report}");
}
