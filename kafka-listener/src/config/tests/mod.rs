//! What the tests of the configuration share: definitions without functions, sources without a machine.

#![cfg(all(feature = "toml", feature = "json"))]

mod errors;
mod precedence;
mod producer;
mod reference;
mod resolution;
mod retry_topics;
mod robustness;
mod secrets;
mod subscription;

use super::{ConfigError, ConfigSource, Environment, ListenerSettings, Resolved, Sources, resolve};
use crate::definition::{Attribute, AttributeValue, ListenerDefinition};

/// A listener as the attribute would leave it, in `src/shop.rs`.
pub(super) fn definition(
    id: &'static str,
    line: u32,
    attributes: &[(&'static str, AttributeValue)],
) -> ListenerDefinition {
    let mut column = 19;
    let attributes: Vec<Attribute> = attributes
        .iter()
        .map(|(key, value)| {
            let attribute = Attribute { key, value: *value, line, column };
            column += 20;
            attribute
        })
        .collect();
    ListenerDefinition {
        id,
        function: id,
        module: "shop",
        file: "src/shop.rs",
        line,
        attributes: attributes.leak(),
        payload_type: || "Order",
        error_names: || None,
        requirements: |_| {},
        handler: || unreachable!("the configuration calls no handler"),
    }
}

/// `reserve_stock` and `request_payment`, each with topic and group.
pub(super) fn shop() -> Vec<ListenerDefinition> {
    let attributes = |group| [("topic", AttributeValue::Str("orders")), ("group_id", AttributeValue::Str(group))];
    vec![
        definition("reserve_stock", 12, &attributes("inventory-service")),
        definition("request_payment", 5, &attributes("order-service")),
    ]
}

/// The text as `kafka-listener.toml`, with nothing from this machine.
pub(super) fn sources(toml: &str) -> Sources {
    Sources {
        file: ConfigSource::Text { name: "kafka-listener.toml".to_owned(), text: toml.to_owned() },
        environment: Environment::Off,
        ..Sources::default()
    }
}

pub(super) fn variables(sources: Sources, variables: &[(&str, &str)]) -> Sources {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment: Environment::Variables(variables), ..sources }
}

pub(super) fn resolved(sources: &Sources) -> Resolved {
    resolve(sources, &shop()).unwrap_or_else(|error| panic!("{error}"))
}

/// The report for the shop's listeners.
pub(super) fn report(sources: &Sources) -> String {
    refused(resolve(sources, &shop()))
}

pub(super) fn refused(result: Result<Resolved, ConfigError>) -> String {
    result.expect_err("the configuration is wrong on purpose").to_string()
}

/// The settings of a listener for the topic `orders`, with these keys set.
pub(crate) fn settings_of_one_listener(set: &[(&str, &str)]) -> ListenerSettings {
    let mut sources = sources("");
    sources.set = set.iter().map(|(path, value)| ((*path).to_owned(), (*value).into())).collect();
    let mut resolved = resolved(&sources);
    resolved.listeners.swap_remove(0).settings
}
