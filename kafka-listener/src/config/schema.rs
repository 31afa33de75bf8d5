//! The JSON Schema of the configuration file, for completion and checks in editors.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Kind};
use super::properties;

/// The JSON Schema (draft 2020-12) of `kafka-listener.toml`.
///
/// It knows every key with its type, range, default and meaning. It does not know what only a start can tell: which
/// listeners exist, and whether settings go together.
pub fn json_schema() -> Value {
    let mut root = table(keys::ROOT);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("kafka-listener.toml"));
    root.insert(
        "$defs".to_owned(),
        json!({
            "kafka": table(keys::KAFKA),
            "listener": table(keys::LISTENER),
            "profile": table(keys::PROFILE),
            "class": { "anyOf": [action(), table(keys::CLASS)] },
            "class_never_tried_again": { "anyOf": [action(), only_action()] },
        }),
    );
    Value::Object(root)
}

fn table(spec: &'static [Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = spec.iter().map(|key| (key.name.to_owned(), described(key))).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}

/// The schema of a key's value with what is known of the key.
fn described(key: &'static Key) -> Value {
    let mut schema = match of_kind(&key.kind) {
        Value::Object(schema) => schema,
        other => unreachable!("a schema of a value is an object, not `{other}`"),
    };
    let mut description = vec![key.doc.to_owned()];
    description.extend(match (key.default, key.default_from) {
        (None | Some(""), "") => None,
        (None | Some(""), from) => Some(format!("Default: {from}.")),
        (Some(default), from) => Some(format!("Default: {default} ({from}).")),
    });
    let owned: Vec<&str> = key.owned_properties().collect();
    description.extend((!owned.is_empty()).then(|| format!("librdkafka: {}.", owned.join(", "))));
    schema.insert("description".to_owned(), json!(description.join(" ").trim()));
    Value::Object(schema)
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Boolean => or_placeholder(&json!({ "type": "boolean" })),
        Kind::Integer { min, max } => or_placeholder(&json!({ "type": "integer", "minimum": min, "maximum": max })),
        Kind::Float { min, max } => or_placeholder(&json!({ "type": "number", "minimum": min, "maximum": max })),
        Kind::Duration { min, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max, "description": "milliseconds" },
            { "type": "string", "examples": ["100ms", "45s", "5m"] },
        ] }),
        Kind::Durations { min, max } => {
            let one = of_kind(&Kind::Duration { min: *min, max: *max });
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": one }] })
        }
        Kind::Size { min, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max, "description": "bytes" },
            { "type": "string", "examples": ["500kB", "8MiB"] },
        ] }),
        Kind::Text | Kind::OffsetReset => json!({ "type": "string" }),
        Kind::Texts | Kind::Assignors => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
        }
        Kind::InitialOffset => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }] }),
        Kind::Partitions => {
            let pair = json!({ "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 });
            json!({ "anyOf": [
                { "type": "string", "examples": ["*", "0-5,7"] },
                { "type": "object", "additionalProperties": { "type": "string" } },
                { "type": "array", "items": pair },
            ] })
        }
        Kind::Choice(choices) => or_placeholder(&json!({ "enum": choices })),
        Kind::OnFailure => {
            let classes: Map<String, Value> = keys::CLASSES
                .iter()
                .map(|class| {
                    let is_tried_again = *class != "default" && !keys::TERMINAL_CLASSES.contains(class);
                    let policy = if is_tried_again { "class" } else { "class_never_tried_again" };
                    ((*class).to_owned(), json!({ "$ref": format!("#/$defs/{policy}") }))
                })
                .collect();
            let others = json!({ "$ref": "#/$defs/class" });
            let table = json!({ "type": "object", "properties": classes, "additionalProperties": others });
            json!({ "anyOf": [action(), table] })
        }
        Kind::Properties => raw_properties(properties::allowed()),
        Kind::ProducerProperties => raw_properties(properties::allowed_for_producer()),
        Kind::Free => json!({ "type": "object" }),
        Kind::Table(spec) if keys::is_same_table(spec, keys::KAFKA) => json!({ "$ref": "#/$defs/kafka" }),
        Kind::Table(spec) if keys::is_same_table(spec, keys::LISTENER) => json!({ "$ref": "#/$defs/listener" }),
        Kind::Table(spec) => Value::Object(table(spec)),
        Kind::Named(spec) => {
            let named = if keys::is_same_table(spec, keys::PROFILE) { "profile" } else { "listener" };
            json!({ "type": "object", "additionalProperties": { "$ref": format!("#/$defs/{named}") } })
        }
    }
}

/// A value of `on_failure`.
fn action() -> Value {
    or_placeholder(&json!({ "enum": keys::ACTIONS }))
}

/// The table of a class whose errors are never tried again.
fn only_action() -> Value {
    json!({ "type": "object", "properties": { "on_failure": action() }, "additionalProperties": false })
}

/// A text with a placeholder may stand for any type.
fn or_placeholder(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": "\\$\\{" }] })
}

/// Names in quotes, or dotted without: then they are tables to TOML.
fn raw_properties(names: impl Iterator<Item = &'static str>) -> Value {
    let scalar = json!({ "type": ["string", "number", "boolean"] });
    let mut known = Map::new();
    for name in names {
        if let Some((first, _)) = name.split_once('.') {
            known.entry(first.to_owned()).or_insert_with(|| json!({ "type": "object" }));
        }
        known.insert(name.to_owned(), scalar.clone());
    }
    json!({ "type": "object", "properties": known, "additionalProperties": false })
}
