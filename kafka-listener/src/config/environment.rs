//! `KAFKA_LISTENER__LISTENERS__RESERVE_STOCK__CONCURRENCY=6`: a layer of the tree from environment variables.
//!
//! Variables know upper case and `_` only, so names that the user chose are matched without regard to case, `-` and `_`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::{self, Key, Kind};
use super::layers::insert;
use super::report::{Problem, Report, listed, normalised};
use super::value::{Node, Origin, Table};

const PREFIX: &str = "KAFKA_LISTENER__";

/// The variables with our prefix as a tree; `below` is what they are laid over.
pub(crate) fn layer(
    variables: &BTreeMap<String, String>,
    below: &Table,
    listener_ids: &[&str],
    report: &mut Report,
) -> Table {
    let mut root = Table::new();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Environment(Arc::from(name.as_str()));
        let walk = Walk { below, listener_ids, origin: &origin };
        match walk.resolve(path, value) {
            Ok((parts, node)) => insert(&mut root, &parts, node, &origin),
            Err(problem) => report.add(problem),
        }
    }
    root
}

struct Walk<'a> {
    below: &'a Table,
    listener_ids: &'a [&'a str],
    origin: &'a Origin,
}

impl Walk<'_> {
    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.origin, message)
    }

    /// The path as the file would spell it, and the value.
    fn resolve(&self, path: &str, value: &str) -> Result<(Vec<String>, Node), Problem> {
        let segments: Vec<&str> = path.split("__").collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err(self
                .problem("two underscores separate the parts of a path, and no part is empty")
                .help("as in `KAFKA_LISTENER__LISTENER__ACK_MODE`"));
        }
        let mut parts: Vec<String> = Vec::new();
        let mut spec = Some(Kind::Table(keys::ROOT));
        let mut existing = Some(self.below);
        for segment in segments {
            let lower = segment.to_lowercase();
            let part = match spec {
                Some(Kind::Table(_)) | None => lower,
                Some(Kind::Properties | Kind::ProducerProperties) => {
                    return Err(self.problem("the environment cannot spell the name of a property").help(
                        r#"give all of them as one JSON value: `…__PROPERTIES={"socket.keepalive.enable":true}`"#,
                    ));
                }
                Some(Kind::Named(_)) if parts == ["listeners"] => {
                    let ids = self.listener_ids.iter().copied();
                    self.chosen_name(&lower, ids.chain(existing.into_iter().flat_map(Table::keys).map(String::as_str)))?
                }
                Some(_) => self.chosen_name(&lower, existing.into_iter().flat_map(Table::keys).map(String::as_str))?,
            };
            spec = inner(spec, &part);
            existing = existing.and_then(|table| table.get(&part)).and_then(|entry| entry.node.table());
            parts.push(part);
        }
        let node = self.node(spec, value)?;
        Ok((parts, node))
    }

    /// The one existing name that `lower` can mean, or itself.
    fn chosen_name<'n>(&self, lower: &str, names: impl Iterator<Item = &'n str>) -> Result<String, Problem> {
        let wanted = normalised(lower);
        let mut matching: Vec<&str> = names.filter(|name| name.to_lowercase().replace('-', "_") == wanted).collect();
        matching.sort_unstable();
        matching.dedup();
        match matching[..] {
            [] => Ok(lower.to_owned()),
            [name] => Ok(name.to_owned()),
            _ => Err(self
                .problem(format!("`{}` may mean any of {}", lower.to_uppercase(), listed(matching.iter().copied())))
                .help("give one of them another name, or set the key in the file")),
        }
    }

    fn node(&self, spec: Option<Kind>, value: &str) -> Result<Node, Problem> {
        let is_table = matches!(
            spec,
            Some(
                Kind::Properties
                    | Kind::ProducerProperties
                    | Kind::Table(_)
                    | Kind::Named(_)
                    | Kind::OnFailure
                    | Kind::Partitions
            )
        );
        if is_table && value.trim_start().starts_with('{') {
            return self.json(value);
        }
        Ok(Node::loose(value, self.origin.clone()))
    }

    #[cfg(feature = "json")]
    fn json(&self, text: &str) -> Result<Node, Problem> {
        // The text of the error may quote the value, which may be a secret: only its place is told.
        serde_json::from_str::<serde_json::Value>(text).map(|value| self.json_node(value)).map_err(|error| {
            self.problem(format!("this is not JSON: error at line {}, column {}", error.line(), error.column()))
        })
    }

    #[cfg(feature = "json")]
    fn json_node(&self, value: serde_json::Value) -> Node {
        use serde_json::Value;

        use super::value::{Entry, Tree};

        let tree = match value {
            Value::Null => Tree::Foreign("null"),
            Value::Bool(flag) => Tree::Boolean(flag),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Tree::Integer(integer),
                (None, Some(float)) => Tree::Float(float),
                (None, None) => Tree::Foreign("a huge number"),
            },
            Value::String(text) => return Node::loose(text, self.origin.clone()),
            Value::Array(items) => Tree::List(items.into_iter().map(|item| self.json_node(item)).collect()),
            Value::Object(entries) => Tree::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Entry { key: self.origin.clone(), node: self.json_node(value) }))
                    .collect(),
            ),
        };
        Node::new(tree, self.origin.clone())
    }

    #[cfg(not(feature = "json"))]
    fn json(&self, _text: &str) -> Result<Node, Problem> {
        Err(self.problem("JSON values need the feature `json`, which is off"))
    }
}

/// The type one step further down.
fn inner(kind: Option<Kind>, part: &str) -> Option<Kind> {
    match kind? {
        Kind::Table(spec) => keys::find(spec, part).map(|key: &'static Key| key.kind),
        Kind::Named(spec) => Some(Kind::Table(spec)),
        Kind::Free => Some(Kind::Free),
        Kind::OnFailure => Some(Kind::Table(keys::CLASS)),
        _ => None,
    }
}
