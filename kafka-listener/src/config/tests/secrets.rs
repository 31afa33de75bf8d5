//! A secret comes in by every source and out by none.

use std::fmt::Write as _;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::{definition, shop, sources, variables};
use crate::config::value::Origin;
use crate::config::{ConfigSource, Environment, ResolvedListener, Sources, Value, keys, properties, resolve};
use crate::definition::AttributeValue::{List, Str};

const CANARY: &str = "hunter2canary";

/// Everything that the configuration can say about these sources.
fn everything_said(sources: &Sources) -> String {
    let mut said = format!("{sources:?}");
    match resolve(sources, &shop()) {
        Ok(resolved) => {
            write!(said, "{resolved:?}").unwrap();
            for listener in &resolved.listeners {
                write!(said, "{:?}{:?}", listener.describe(), listener.notes).unwrap();
            }
            write!(said, "{:?}{:?}", resolved.kafka, resolved.warnings).unwrap();
        }
        Err(error) => {
            write!(said, "{error}{error:?}{error:#?}").unwrap();
            error.problems().for_each(|problem| said.push_str(&problem));
        }
    }
    said
}

fn check(what: &str, sources: &Sources) {
    let said = everything_said(sources);
    if let Some(at) = said.find(CANARY) {
        let start = said[..at].char_indices().rev().nth(300).map_or(0, |(index, _)| index);
        panic!("{what}: …{}", &said[start..at + CANARY.len()]);
    }
}

/// Paths of everything that holds a secret, or may.
fn paths() -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for (table, spec) in [("kafka.sasl", keys::SASL), ("kafka.tls", keys::TLS)] {
        paths.extend(spec.iter().filter(|key| key.secret).map(|key| format!("{table}.{}", key.name)));
    }
    let hidden = properties::allowed().filter(|name| !properties::printable(name));
    let misplaced = ["sasl.password", "ssl.key.pem", "sasl.jaas.config", "ssl.keystore.key", "sasl.passwort", "x"];
    for name in hidden.chain(misplaced) {
        paths.extend(["kafka", "listener"].map(|block| format!("{block}.properties.\"{name}\"")));
    }
    // Mistakes: a wrong key, a wrong table, a value where a table belongs.
    paths.extend(
        ["kafka.sasl.pasword", "kafka.password", "password", "kafka.sasl", "kafka.tls", "app.password"]
            .map(str::to_owned),
    );
    paths.extend(
        ["kafka.properties", "listener.retry", "listener", "listeners.reserve_stock", "listeners"].map(str::to_owned),
    );
    paths
}

#[test]
fn no_secret_of_a_file_is_shown() {
    for path in paths() {
        for value in [
            format!("'{CANARY}'"),
            format!("['{CANARY}', 3]"),
            format!("{{ a = '{CANARY}', b = {{ c = '{CANARY}' }} }}"),
            format!("\"\"\"\n-----BEGIN\n{CANARY}\n\"\"\""),
            format!("'${{MISSING}}{CANARY}'"),
            format!("'${{MISSING:-{CANARY}}}'"),
            // Syntax errors around it.
            format!("\"{CANARY}"),
            CANARY.to_owned(),
            format!("'{CANARY}' '{CANARY}'"),
            format!("{{ a = '{CANARY}', a = '{CANARY}' }}"),
            format!("3 # {CANARY}"),
            format!("= 3 # {CANARY}"),
            format!("'x'\n{path} = '{CANARY}'"),
        ] {
            // With an error of its own on the line before, and with the protocols that use it.
            for before in ["", "kafka.security_protocol = 'sasl_ssl'\n", "listener.concurrency = 0 "] {
                check(&path, &sources(&format!("{before}{path} = {value}\n")));
            }
        }
    }
}

#[test]
fn no_secret_beside_a_mistake_is_shown() {
    for toml in [
        format!("kafka.sasl = {{ mechanism = 'PLAIN', password = '{CANARY}', usrname = 'x' }}"),
        format!("kafka.sasl = {{ password = '{CANARY}', mechanism = 'PLAINER' }}"),
        format!("listener = {{ concurrency = 0, properties = {{ 'sasl.oauthbearer.config' = '{CANARY}' }} }}"),
        format!("listener.concurrency = 0 # was {CANARY}"),
        format!("profiles.dev.kafka.sasl = {{ password = '{CANARY}', usrname = 'x' }}"),
        format!("[kafka.sasl]\npassword = '''\n{CANARY}\nconcurrency = {CANARY}''' x"),
        format!("[[[\n[\"{CANARY}\"]\n"),
    ] {
        check(&toml, &sources(&toml));
    }
}

#[test]
fn no_secret_of_another_source_is_shown() {
    for path in paths() {
        for value in [
            Value::from(CANARY),
            vec![CANARY].into(),
            [("a".to_owned(), CANARY)].into_iter().collect::<std::collections::BTreeMap<_, _>>().into(),
        ] {
            check(&path, &Sources { set: vec![(path.replace('"', ""), value)], ..sources("") });
        }
        let name = format!("KAFKA_LISTENER__{}", path.replace('"', "").replace('.', "__").to_uppercase());
        for value in [CANARY.to_owned(), format!("{{{CANARY}}}"), format!("{{\"{CANARY}\": ")] {
            check(&path, &variables(sources(""), &[(&name, &value)]));
        }
    }
    let json = format!("{{\"sasl.oauthbearer.config\": \"{CANARY}\", \"sasl.passwort\": [\"{CANARY}\"]}}");
    check("JSON", &variables(sources(""), &[("KAFKA_LISTENER__KAFKA__PROPERTIES", &json)]));
    check("a variable of somebody else", &variables(sources(""), &[("PASSWORD", CANARY)]));
    let text = ConfigSource::Text { name: "a.toml".to_owned(), text: format!("app.password = '{CANARY}'") };
    check("app", &Sources { file: text, environment: Environment::Off, ..Sources::default() });
}

#[test]
fn no_secret_of_a_right_configuration_is_shown() {
    let toml = "[kafka]\nallow_insecure = true\nsecurity_protocol = 'sasl_plaintext'
        sasl = { mechanism = 'PLAIN', username = 'u', password = 'other' }\n";
    let in_file = toml.replace("other", CANARY) + &format!("properties.topic.blacklist = '{CANARY}'");
    let by_placeholder = toml.replace("other", "${PASSWORD}");
    let set = vec![
        ("kafka.sasl.password".to_owned(), CANARY.into()),
        ("listener.properties.topic.blacklist".to_owned(), CANARY.into()),
    ];
    let environment = [
        ("KAFKA_LISTENER__KAFKA__SASL__PASSWORD", CANARY),
        ("KAFKA_LISTENER__LISTENER__PROPERTIES", &format!("{{\"topic.blacklist\": \"{CANARY}\"}}")),
    ];
    for (what, sources) in [
        ("file", sources(&in_file)),
        ("placeholder", variables(sources(&by_placeholder), &[("PASSWORD", CANARY)])),
        ("builder", Sources { set, ..sources(toml) }),
        ("environment", variables(sources(toml), &environment)),
    ] {
        let resolved = resolve(&sources, &shop()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let password = resolved.kafka.iter().find(|setting| setting.key == "kafka.sasl.password");
        assert_eq!(password.map(|password| password.value.as_str()), Some("[redacted]"), "{what}");
        let properties = &resolved.listeners[0].settings.client_properties;
        let given = properties.iter().find(|(name, _)| name == "sasl.password").map(|(_, value)| value.expose_secret());
        assert_eq!(given, Some(CANARY), "{what}");
        check(what, &sources);
    }
}

#[test]
fn no_secret_of_an_attribute_is_shown() {
    let pair: &'static str = format!("topic.blacklist={CANARY}").leak();
    let broken: &'static str = format!("sasl.jaas.config={CANARY}").leak();
    for properties in [List(vec![pair].leak()), List(vec![broken].leak()), List(vec![CANARY].leak()), Str(pair)] {
        let attributes = [("topic", Str("t")), ("group_id", Str("g")), ("properties", properties)];
        let said = match resolve(&sources(""), &[definition("a", 1, &attributes)]) {
            Ok(resolved) => format!("{resolved:?}"),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains(CANARY), "{said}");
    }
}

#[test]
fn what_comes_out_of_a_file_is_not_shown_even_for_a_harmless_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{CANARY}\n")).unwrap();
    let placeholder = format!("${{file:{}}}", file.path().display());
    for path in [
        "listener.client_id",
        "kafka.client_id",
        "listener.concurrency",
        "kafka.properties.debug",
        "listener.ack_mode",
        "kafka.security_protocol",
    ] {
        let sources = sources(&format!("{path} = '{placeholder}'"));
        let described = match resolve(&sources, &shop()) {
            Ok(resolved) => {
                let listeners = resolved.listeners.iter().flat_map(ResolvedListener::describe);
                format!("{:?}", listeners.chain(&resolved.kafka).collect::<Vec<_>>())
            }
            Err(error) => error.to_string(),
        };
        assert!(!described.contains(CANARY), "{path}: {described}");
    }
}

proptest! {
    #[test]
    fn no_secret_is_shown_wherever_the_file_breaks(
        at in any::<prop::sample::Index>(),
        length in 0..3_usize,
        with in prop::sample::select(vec!["", "\"", "'", "=", "\n", "#", "[", "{", "\"\"\"", "concurrency = "]),
    ) {
        let mut toml = format!(
            "[kafka]\nsecurity_protocol = 'sasl_ssl'\n\
             sasl = {{ mechanism = \"PLAIN\", username = \"u\", password = \"{CANARY}\" }}\n\
             [kafka.tls]\nkey = '''\n-----BEGIN\n{CANARY}==\n'''\n[listener]\nconcurrency = 3 # {CANARY}\n\
             [app]\npassword = [\n\"{CANARY}\",\n]\n"
        );
        let start = at.index(toml.len());
        let end = (start + length).min(toml.len());
        // The canary itself stays whole, so that it can be found.
        prop_assume!(toml.match_indices(CANARY).all(|(canary, _)| end <= canary || start >= canary + CANARY.len()));
        toml.replace_range(start..end, with);
        let said = everything_said(&sources(&toml));
        prop_assert!(!said.contains(CANARY), "{}\n{}", toml, said);
    }
}

#[test]
fn origins_name_places_and_no_values() {
    let origin = Origin::Builder(".set(\"kafka.sasl.password\")".into());
    assert_eq!(origin.to_string(), "builder .set(\"kafka.sasl.password\")");
}
