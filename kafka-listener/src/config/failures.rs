//! `retry` and `on_failure`: what each class of error meets, merged from the scopes of one listener.

use std::collections::BTreeMap;
use std::time::Duration;

use super::layers::overlay;
use super::listener::{Remarks, contradiction};
use super::reader::{Read, Reader, Scope};
use super::report::{Problem, listed, nearest, shown};
use super::settings::{FailurePolicies, FailurePolicy, OnFailure, RetrySettings};
use super::value::{Entry, Node, Origin, Table, Tree};
use super::{keys, lint, parse};
use crate::failure::ErrorClass;

/// Reads both keys. A single action for `on_failure` replaces all of it that lies below; a table replaces what it names.
///
/// Records that are `put_off` to retry topics are delivered once in each topic, unless `attempts` says otherwise.
pub(super) fn read(
    listener: &Possible<'_>,
    put_off: bool,
    reader: &mut Reader<'_>,
    remarks: &mut Remarks,
) -> FailurePolicies {
    let mut retry = Retry::read(reader);
    if put_off {
        retry.attempts.get_or_insert(1);
    }
    let mut classes = classes(reader);
    let base = FailurePolicy { retry: retry.settings(), action: OnFailure::Hold };
    let default = if let Some(class) = classes.remove("default") {
        class.read(reader, "default", &retry, base)
    } else {
        reader.describe("on_failure.default", "hold".to_owned(), &Origin::Default);
        base
    };
    let mut by_class = Vec::new();
    for (name, class) in classes {
        listener.check(&name, &class, remarks);
        let policy = class.read(reader, &name, &retry, default);
        by_class.push((ErrorClass::from_name(name), policy));
    }
    FailurePolicies { default, by_class }
}

/// What a listener's own code can and cannot do with its settings.
pub(super) struct Possible<'l> {
    pub(super) listener: &'l str,
    /// The names that its errors give, if all are known.
    pub(super) names: Option<&'static [&'static str]>,
    /// Whether its attribute names a type that decodes.
    pub(super) has_own_codec: bool,
}

impl Possible<'_> {
    /// A class that no error can have is a mistake, unless the block serves another listener, too, whose errors can.
    fn check(&self, class: &str, written: &Class, remarks: &mut Remarks) {
        if keys::CLASSES.contains(&class) {
            return;
        }
        let origin = &written.entry.key;
        let Some(names) = self.names else {
            remarks.unread.note(origin, written.scope, true, || Problem::new(origin, ""));
            remarks.warnings.extend(lint::misspelt_class(class).map(|meant| {
                let class = shown(class);
                format!("{origin}: `on_failure` names the class `{class}`; if no error is classified so, `{meant}` was meant")
            }));
            return;
        };
        remarks.unread.note(origin, written.scope, names.contains(&class), || {
            let (listener, class) = (self.listener, shown(class));
            let problem = Problem::new(origin, format!("no error of listener `{listener}` has the class `{class}`"));
            let known = names.iter().chain(keys::CLASSES).copied();
            match nearest(&class, known) {
                Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                None if names.is_empty() => {
                    problem.help("its errors give no names: their type does not derive `Classify`")
                }
                None => problem.help(format!("its errors give the names {}", listed(names.iter().copied()))),
            }
        });
    }
}

/// `retry` as it was read; the classes fall back to it.
struct Retry {
    attempts: Option<u32>,
    delay: Read<Duration>,
    multiplier: f64,
    max_delay: Read<Duration>,
    jitter: f64,
    max_elapsed: Option<Duration>,
}

impl Retry {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.inner("retry", |reader| {
            let attempts = reader.optional_integer("attempts").value.map(attempts);
            let delay = reader.duration("delay");
            let max_delay = reader.duration("max_delay");
            check_delays(&delay, &max_delay, reader);
            Self {
                attempts,
                delay,
                multiplier: reader.float("multiplier").value,
                max_delay,
                jitter: reader.float("jitter").value,
                max_elapsed: reader.optional_duration("max_elapsed").value,
            }
        })
    }

    fn settings(&self) -> RetrySettings {
        RetrySettings {
            attempts: self.attempts,
            delay: self.delay.value,
            multiplier: self.multiplier,
            max_delay: self.max_delay.value,
            jitter: self.jitter,
            max_elapsed: self.max_elapsed,
        }
    }
}

/// One class as it is written, over all scopes.
struct Class {
    /// The most specific scope that names it.
    scope: Scope,
    entry: Entry,
}

/// All classes that are named, each a table.
fn classes(reader: &Reader<'_>) -> BTreeMap<String, Class> {
    const KEY: &str = "on_failure";
    let mut merged = Table::new();
    let mut scopes: BTreeMap<&str, Scope> = BTreeMap::new();
    for (scope, entry) in reader.entries(KEY) {
        match entry.node.table() {
            Some(classes) => scopes.extend(classes.keys().map(|class| (class.as_str(), scope))),
            None => scopes = BTreeMap::from([("default", scope)]),
        }
        overlay(&mut merged, Table::from([(KEY.to_owned(), entry.clone())]));
    }
    let Some(entry) = merged.remove(KEY) else { return BTreeMap::new() };
    let classes = match entry.node.value {
        Tree::Table(classes) => classes,
        _ => Table::from([("default".to_owned(), entry)]),
    };
    let class = |(name, entry): (String, Entry)| {
        let scope = scopes.get(name.as_str()).copied().unwrap_or(Scope::Shared);
        (name, Class { scope, entry: as_table(entry) })
    };
    classes.into_iter().map(class).collect()
}

/// An action alone is short for a table with nothing else.
fn as_table(entry: Entry) -> Entry {
    if entry.node.table().is_some() {
        return entry;
    }
    let (key, origin) = (entry.key.clone(), entry.node.origin.clone());
    Entry { key, node: Node::new(Tree::Table(Table::from([("on_failure".to_owned(), entry)])), origin) }
}

impl Class {
    /// What it says over `retry` and the default's action.
    fn read(&self, outer: &mut Reader<'_>, name: &str, retry: &Retry, default: FailurePolicy) -> FailurePolicy {
        let mut reader = Reader {
            scopes: self.entry.node.table().map(|table| (self.scope, table)).into_iter().collect(),
            spec: keys::CLASS,
            prefix: "",
            placeholders: outer.placeholders,
            report: outer.report,
            described: Vec::new(),
        };
        let action = reader.optional("on_failure", parse::action).value;
        let delay = reader.optional_duration("delay");
        let max_delay = reader.optional_duration("max_delay");
        let names_delay = delay.is_set() || max_delay.is_set();
        let (delay, max_delay) = (delay.or(&retry.delay), max_delay.or(&retry.max_delay));
        if names_delay {
            check_delays(&delay, &max_delay, &mut reader);
        }
        let retry = RetrySettings {
            attempts: reader.optional_integer("attempts").value.map(attempts).or(retry.attempts),
            delay: delay.value,
            multiplier: reader.optional_float("multiplier").value.unwrap_or(retry.multiplier),
            max_delay: max_delay.value,
            jitter: reader.optional_float("jitter").value.unwrap_or(retry.jitter),
            max_elapsed: reader.optional_duration("max_elapsed").value.or(retry.max_elapsed),
        };
        for mut described in reader.described {
            described.key = match described.key.as_str() {
                "on_failure" => format!("on_failure.{}", shown(name)),
                key => format!("on_failure.{}.{key}", shown(name)),
            };
            outer.described.push(described);
        }
        FailurePolicy { retry, action: action.unwrap_or(default.action) }
    }
}

fn attempts(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn check_delays(delay: &Read<Duration>, max_delay: &Read<Duration>, reader: &mut Reader<'_>) {
    if !delay.broken && !max_delay.broken && delay.value > max_delay.value {
        reader.report.add(contradiction("delay", delay, "not be longer than", "max_delay", max_delay));
    }
}
