//! Reads settings through the scopes of one listener, or of `[kafka]`, and notes where each came from.

use std::time::Duration;

use super::keys::{self, Key, Kind};
use super::parse;
use super::placeholders::Placeholders;
use super::report::{Problem, Report};
use super::settings::{AutoOffsetReset, InitialOffset};
use super::value::{Entry, Node, Origin, Table, Tree};

/// How specific a value is; later wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Default,
    /// `[listener]`, or `[kafka]` with nothing above it.
    Shared,
    Factory,
    Attribute,
    Listener,
}

/// A setting as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
    pub(crate) scope: Scope,
    /// The value was refused and reported; this is the default, not worth a second complaint.
    pub(crate) broken: bool,
}

impl<T> Read<T> {
    pub(crate) fn is_set(&self) -> bool {
        self.scope != Scope::Default
    }
}

impl<T: Clone> Read<Option<T>> {
    /// The value where there is one, else that of another key.
    pub(crate) fn or(self, other: &Read<T>) -> Read<T> {
        match self.value {
            Some(value) => Read { value, origin: self.origin, scope: self.scope, broken: self.broken },
            None => Read { broken: self.broken || other.broken, ..other.clone() },
        }
    }
}

/// One line of "every setting with its origin".
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    pub(crate) key: String,
    /// As written, or `[redacted]`.
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

pub(crate) const REDACTED: &str = "[redacted]";

/// Reads keys of one block, most specific scope first.
pub(crate) struct Reader<'a> {
    /// From the least to the most specific.
    pub(crate) scopes: Vec<(Scope, &'a Table)>,
    pub(crate) spec: &'static [Key],
    /// What the names in [`Described`] start with.
    pub(crate) prefix: &'static str,
    pub(crate) placeholders: &'a Placeholders<'a>,
    pub(crate) report: &'a mut Report,
    pub(crate) described: Vec<Described>,
}

impl<'a> Reader<'a> {
    /// The same for a table inside of each scope, as `retry`.
    pub(crate) fn inner<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let Kind::Table(spec) = keys::known(self.spec, name).kind else { unreachable!("`{name}` is a table") };
        let scopes = self
            .scopes
            .iter()
            .filter_map(|(scope, table)| table.get(name)?.node.table().map(|table| (*scope, table)))
            .collect();
        let prefix = match (self.prefix, name) {
            ("kafka.", "sasl") => "kafka.sasl.",
            ("kafka.", "tls") => "kafka.tls.",
            ("kafka.", "producer") => "kafka.producer.",
            (_, "retry") => "retry.",
            (_, "retry_topics") => "retry_topics.",
            (_, "dead_letter") => "dead_letter.",
            (_, "limits") => "limits.",
            (prefix, _) => prefix,
        };
        let mut inner = Reader {
            scopes,
            spec,
            prefix,
            placeholders: self.placeholders,
            report: self.report,
            described: Vec::new(),
        };
        let value = read(&mut inner);
        let described = inner.described;
        self.described.extend(described);
        value
    }

    /// The winning entry.
    pub(crate) fn entry(&self, name: &str) -> Option<(Scope, &'a Entry)> {
        self.scopes.iter().rev().find_map(|(scope, table)| table.get(name).map(|entry| (*scope, entry)))
    }

    /// Every scope's entry, the least specific first.
    pub(crate) fn entries(&self, name: &str) -> Vec<(Scope, &'a Entry)> {
        self.scopes.iter().filter_map(|(scope, table)| table.get(name).map(|entry| (*scope, entry))).collect()
    }

    pub(crate) fn describe(&mut self, name: &str, shown: String, origin: &Origin) {
        self.described.push(Described { key: format!("{}{name}", self.prefix), value: shown, origin: origin.clone() });
    }

    /// The value where it is set and right.
    fn set_value<T>(
        &mut self,
        key: &'static Key,
        parse: impl Fn(&'static Key, &Node) -> Result<T, Problem>,
    ) -> Option<Result<Read<T>, (Scope, Origin)>> {
        let (scope, entry) = self.entry(key.name)?;
        let origin = entry.node.origin.clone();
        let parsed = self.placeholders.resolve(&entry.node).and_then(|node| Ok((parse(key, &node)?, node)));
        Some(match parsed {
            Ok((value, node)) => {
                let shown = if key.printable() { node.to_text() } else { REDACTED.to_owned() };
                self.describe(key.name, shown, &origin);
                Ok(Read { value, origin, scope, broken: false })
            }
            Err(problem) => {
                self.report.add(problem);
                Err((scope, origin))
            }
        })
    }

    /// A key that has a default.
    fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&'static Key, &Node) -> Result<T, Problem>,
    ) -> Read<T> {
        let key = keys::known(self.spec, name);
        let (scope, origin, broken) = match self.set_value(key, &parse) {
            Some(Ok(read)) => return read,
            Some(Err((scope, origin))) => (scope, origin, true),
            None => (Scope::Default, Origin::Default, false),
        };
        let text = key.default.unwrap_or_default();
        let value = parse(key, &Node::loose(text, Origin::Default))
            .unwrap_or_else(|_| unreachable!("the default of `{name}` is a legal value, which a test checks"));
        self.describe(name, text.to_owned(), &origin);
        Read { value, origin, scope, broken }
    }

    /// A key that may be left out.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&'static Key, &Node) -> Result<T, Problem>,
    ) -> Read<Option<T>> {
        let key = keys::known(self.spec, name);
        match self.set_value(key, parse) {
            Some(Ok(Read { value, origin, scope, broken })) => Read { value: Some(value), origin, scope, broken },
            Some(Err((scope, origin))) => Read { value: None, origin, scope, broken: true },
            None => Read { value: None, origin: Origin::Default, scope: Scope::Default, broken: false },
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> Read<bool> {
        self.required(name, parse::boolean)
    }

    pub(crate) fn duration(&mut self, name: &'static str) -> Read<Duration> {
        self.required(name, parse::duration)
    }

    pub(crate) fn durations(&mut self, name: &'static str) -> Read<Vec<Duration>> {
        self.required(name, parse::durations)
    }

    pub(crate) fn size(&mut self, name: &'static str) -> Read<u64> {
        self.required(name, parse::size)
    }

    pub(crate) fn float(&mut self, name: &'static str) -> Read<f64> {
        self.required(name, parse::float)
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Read<i64> {
        self.required(name, parse::integer)
    }

    pub(crate) fn optional_integer(&mut self, name: &'static str) -> Read<Option<i64>> {
        self.optional(name, parse::integer)
    }

    pub(crate) fn optional_float(&mut self, name: &'static str) -> Read<Option<f64>> {
        self.optional(name, parse::float)
    }

    pub(crate) fn choice(&mut self, name: &'static str) -> Read<&'static str> {
        self.required(name, parse::choice)
    }

    pub(crate) fn optional_duration(&mut self, name: &'static str) -> Read<Option<Duration>> {
        self.optional(name, parse::duration)
    }

    pub(crate) fn optional_choice(&mut self, name: &'static str) -> Read<Option<&'static str>> {
        self.optional(name, parse::choice)
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Read<String> {
        self.required(name, parse::text)
    }

    pub(crate) fn optional_text(&mut self, name: &'static str) -> Read<Option<String>> {
        self.optional(name, parse::text)
    }

    /// Each name with the place where it stands.
    pub(crate) fn texts(&mut self, name: &'static str) -> Read<Vec<(String, Origin)>> {
        self.required(name, |key, node| {
            Ok(parse::texts(key, node)?.into_iter().map(|(text, node)| (text, node.origin)).collect())
        })
    }

    pub(crate) fn offset_reset(&mut self) -> Read<AutoOffsetReset> {
        self.required("auto_offset_reset", parse::offset_reset)
    }

    pub(crate) fn partitions(&mut self) -> Read<Option<parse::PartitionsByTopic>> {
        self.optional("partitions", parse::partitions)
    }

    pub(crate) fn initial_offset(&mut self) -> Read<Option<InitialOffset>> {
        self.optional("initial_offset", parse::initial_offset)
    }

    pub(crate) fn assignors(&mut self) -> Read<Vec<&'static str>> {
        self.required("partition_assignment_strategy", parse::assignors)
    }

    /// Raw properties, merged by name.
    pub(crate) fn properties(&mut self) -> Vec<RawProperty> {
        let mut result: Vec<RawProperty> = Vec::new();
        for (_, entry) in self.entries("properties") {
            let Tree::Table(properties) = &entry.node.value else { continue };
            for (name, entry) in properties {
                let resolved = self.placeholders.resolve(&entry.node);
                match resolved.and_then(|node| Ok((parse::property(name, &node)?, node.secret))) {
                    Ok((value, secret)) => {
                        result.retain(|known| known.name != *name);
                        let name = name.clone();
                        let (key, origin) = (entry.key.clone(), entry.node.origin.clone());
                        result.push(RawProperty { name, value, secret, key, origin });
                    }
                    Err(problem) => self.report.add(problem),
                }
            }
        }
        result
    }
}

/// One entry of `properties`.
#[derive(Clone)]
pub(crate) struct RawProperty {
    pub(crate) name: String,
    pub(crate) value: String,
    /// It came out of a secret file.
    pub(crate) secret: bool,
    /// Where the name is written.
    pub(crate) key: Origin,
    /// Where the value is written.
    pub(crate) origin: Origin,
}

impl std::fmt::Debug for RawProperty {
    /// The value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawProperty").field("name", &self.name).field("origin", &self.origin).finish_non_exhaustive()
    }
}
