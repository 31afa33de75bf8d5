//! Which value wins, against a model that ranks all of them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::{definition, sources, variables};
use crate::config::{ResolvedListener, Sources, resolve};
use crate::definition::AttributeValue::{self, Int, List, Str};

/// The argument, and how it is written.
type InAttribute = (&'static str, fn(i64) -> AttributeValue);

/// One key in all the places where it can stand.
struct Subject {
    /// As in the file, below its block.
    path: &'static str,
    variable: &'static str,
    attribute: Option<InAttribute>,
    read: fn(&ResolvedListener) -> Option<i64>,
    default: Option<i64>,
}

fn property(value: i64) -> AttributeValue {
    List(vec![&*format!("socket.send.buffer.bytes={value}").leak()].leak())
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        path: "consumers",
        variable: "CONSUMERS=$",
        attribute: Some(("consumers", Int)),
        read: |listener| i64::try_from(listener.settings.consumers).ok(),
        default: Some(1),
    },
    Subject {
        path: "retry.attempts",
        variable: "RETRY__ATTEMPTS=$",
        attribute: None,
        read: |listener| listener.settings.failures.default.retry.attempts.map(i64::from),
        default: None,
    },
    Subject {
        path: "limits.in_flight_records",
        variable: "LIMITS={\"in_flight_records\":$}",
        attribute: None,
        read: |listener| i64::try_from(listener.settings.limits.in_flight_records).ok(),
        default: Some(4096),
    },
    Subject {
        path: "properties.\"socket.send.buffer.bytes\"",
        variable: "PROPERTIES={\"socket.send.buffer.bytes\":$}",
        attribute: Some(("properties", property)),
        read: |listener| {
            let mut properties = listener.settings.client_properties.iter();
            let (_, value) = properties.find(|(name, _)| name == "socket.send.buffer.bytes")?;
            value.expose_secret().parse().ok()
        },
        default: None,
    },
];

/// Blocks from the least to the most specific; the attribute stands between the second and the third.
const BLOCKS: [&str; 3] = ["listener", "container_factories.slow-ones", "listeners.stock-keeper"];
const VARIABLES: [&str; 3] = ["LISTENER", "CONTAINER_FACTORIES__SLOW_ONES", "LISTENERS__STOCK_KEEPER"];

/// Sources from the weakest to the strongest.
const FILE: usize = 0;
const FIRST_PROFILE: usize = 1;
const SECOND_PROFILE: usize = 2;
const ENVIRONMENT: usize = 3;
const BUILDER: usize = 4;

/// A value per block and source, and one in the attribute.
type Placed = (Vec<Vec<Option<i64>>>, Option<i64>);

fn placed() -> impl Strategy<Value = Placed> {
    (vec(vec(option::weighted(0.3, 1..1000_i64), 5), 3), option::weighted(0.3, 1..1000_i64))
}

fn expected(subject: &Subject, (blocks, attribute): &Placed) -> Option<i64> {
    let mut ranked: Vec<((usize, usize), i64)> = Vec::new();
    for (block, by_source) in blocks.iter().enumerate() {
        let scope = if block == 2 { 3 } else { block };
        ranked.extend(by_source.iter().enumerate().filter_map(|(source, value)| Some(((scope, source), (*value)?))));
    }
    ranked.extend(attribute.filter(|_| subject.attribute.is_some()).map(|value| ((2, 0), value)));
    ranked.into_iter().max_by_key(|(rank, _)| *rank).map(|(_, value)| value).or(subject.default)
}

fn resolve_placed(placed: &[Placed]) -> ResolvedListener {
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut builder: Vec<(String, crate::config::Value)> = Vec::new();
    let mut attributes: Vec<(&'static str, AttributeValue)> = vec![("topic", Str("t")), ("group_id", Str("g"))];
    let mut tables: [Vec<String>; 3] = Default::default();
    for (subject, (blocks, attribute)) in SUBJECTS.iter().zip(placed) {
        for (block, by_source) in blocks.iter().enumerate() {
            for (source, value) in by_source.iter().enumerate() {
                let Some(value) = value else { continue };
                let path = format!("{}.{}", BLOCKS[block], subject.path);
                match source {
                    FILE | FIRST_PROFILE | SECOND_PROFILE => tables[source].push(format!("{path} = {value}\n")),
                    ENVIRONMENT => {
                        let (key, text) = subject.variable.split_once('=').unwrap();
                        let name = format!("KAFKA_LISTENER__{}__{key}", VARIABLES[block]);
                        environment.push((name, text.replace('$', &value.to_string())));
                    }
                    BUILDER => builder.push((path, (*value).into())),
                    _ => unreachable!("there are five sources"),
                }
            }
        }
        if let (Some((name, make)), Some(value)) = (subject.attribute, attribute) {
            attributes.push((name, make(*value)));
        }
    }
    let [file, first, second] = tables.map(|lines| lines.concat());
    let toml = format!(
        "{file}listener.container_factory = 'slow-ones'\ncontainer_factories.slow-ones.auto_startup = true\n\
         [profiles.first]\n{first}[profiles.second]\n{second}"
    );
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let sources = variables(
        Sources { set: builder, profiles: Some(vec!["first".into(), "second".into()]), ..sources(&toml) },
        &environment,
    );
    let resolved = resolve(&sources, &[definition("stock-keeper", 1, &attributes)]);
    resolved.unwrap_or_else(|error| panic!("{error}\n{toml}")).listeners.remove(0)
}

proptest! {
    #[test]
    fn the_most_specific_scope_wins_and_in_it_the_strongest_source(placed in vec(placed(), 4)) {
        let listener = resolve_placed(&placed);
        for (subject, placed) in SUBJECTS.iter().zip(&placed) {
            prop_assert_eq!((subject.read)(&listener), expected(subject, placed), "{}", subject.path);
        }
    }
}
