//! What is wrong with one layer by itself: keys that do not exist, values of the wrong type.
//!
//! Every layer is looked at, in use or not, profiles that are not active included. Texts with placeholders are left to
//! the reader, since only values in use must resolve.

use super::keys::{self, ACTIONS, CLASSES, Key, Kind};
use super::parse;
use super::report::{Problem, Report, listed, nearest, normalised, shown};
use super::value::{Entry, Node, Origin, Table, Tree};

/// Adds what is wrong with `root` to the report.
pub(crate) fn check(root: &Table, report: &mut Report) {
    Lint { report, path: Vec::new() }.table(root, keys::ROOT);
}

/// The same for one block of a listener's keys, as the attribute is one.
pub(crate) fn check_block(block: &Table, report: &mut Report) {
    Lint { report, path: Vec::new() }.table(block, keys::LISTENER);
}

struct Lint<'r> {
    report: &'r mut Report,
    path: Vec<String>,
}

impl Lint<'_> {
    fn table(&mut self, table: &Table, spec: &'static [Key]) {
        for (name, entry) in table {
            match keys::find(spec, name) {
                Some(key) if key.name == "container_factory" && self.is_within("container_factories") => {
                    self.report.add(Problem::new(&entry.key, "a container factory cannot name another one"));
                }
                Some(key) => {
                    self.path.push(name.clone());
                    self.value(key, &entry.node);
                    self.path.pop();
                }
                None => self.report.add(unknown(name, entry, spec, &self.path)),
            }
        }
    }

    fn is_within(&self, table: &str) -> bool {
        self.path.iter().any(|part| part == table)
    }

    fn value(&mut self, key: &'static Key, node: &Node) {
        let expect_table = |report: &mut Report| {
            let name = key.name;
            report.add(Problem::new(&node.origin, format!("`{name}` takes a table, not {}", node.kind())));
        };
        match (key.kind, node.table()) {
            (Kind::Table(spec), Some(table)) => self.table(table, spec),
            (Kind::Named(spec), Some(tables)) => {
                for (name, entry) in tables {
                    self.path.push(name.clone());
                    match entry.node.table() {
                        Some(table) => self.table(table, spec),
                        None => self.report.add(
                            Problem::new(&entry.key, format!("`{}.{}` takes a table", key.name, shown(name)))
                                .help(format!("`[{}.{}]` and keys below it", key.name, shown(name))),
                        ),
                    }
                    self.path.pop();
                }
            }
            (Kind::OnFailure, Some(classes)) => {
                for (class, entry) in classes {
                    self.path.push(class.clone());
                    match entry.node.table() {
                        Some(policy) => self.class(class, policy),
                        None => self.scalar(key, &entry.node),
                    }
                    self.path.pop();
                }
            }
            (Kind::Free | Kind::Properties | Kind::ProducerProperties, Some(_)) => {}
            (Kind::Table(_) | Kind::Named(_) | Kind::Free | Kind::Properties | Kind::ProducerProperties, None) => {
                expect_table(self.report);
            }
            _ => self.scalar(key, node),
        }
    }

    /// One class in `on_failure`, written as a table.
    fn class(&mut self, class: &str, policy: &Table) {
        self.table(policy, keys::CLASS);
        let help = match class {
            "default" => "how often and how fast every class is tried again says `retry`",
            class if keys::TERMINAL_CLASSES.contains(&class) => "errors of this class are never tried again",
            _ => return,
        };
        for (name, entry) in policy {
            if name != "on_failure" && keys::find(keys::CLASS, name).is_some() {
                let text = format!("`{name}` cannot be set for `{class}`: only `on_failure` can");
                self.report.add(Problem::new(&entry.key, text).help(help));
            }
        }
    }

    fn scalar(&mut self, key: &'static Key, node: &Node) {
        if !has_placeholder(node)
            && let Err(problem) = typed(key, node)
        {
            self.report.add(problem);
        }
    }
}

/// May the value change before it is read?
fn has_placeholder(node: &Node) -> bool {
    match (&node.value, &node.origin) {
        (Tree::Text(text), Origin::File { .. } | Origin::Attribute { .. }) => text.contains('$'),
        (Tree::List(items), _) => items.iter().any(has_placeholder),
        (Tree::Table(entries), _) => entries.values().any(|entry| has_placeholder(&entry.node)),
        _ => false,
    }
}

/// Reads the value as its key's type, for the error only.
pub(crate) fn typed(key: &'static Key, node: &Node) -> Result<(), Problem> {
    match key.kind {
        Kind::Boolean => parse::boolean(key, node).map(drop),
        Kind::Integer { .. } => parse::integer(key, node).map(drop),
        Kind::Float { .. } => parse::float(key, node).map(drop),
        Kind::Duration { .. } => parse::duration(key, node).map(drop),
        Kind::Durations { .. } => parse::durations(key, node).map(drop),
        Kind::Size { .. } => parse::size(key, node).map(drop),
        Kind::Text => parse::text(key, node).map(drop),
        Kind::Texts => parse::texts(key, node).map(drop),
        Kind::Choice(_) => parse::choice(key, node).map(drop),
        Kind::OffsetReset => parse::offset_reset(key, node).map(drop),
        Kind::Partitions => parse::partitions(key, node).map(drop),
        Kind::InitialOffset => parse::initial_offset(key, node).map(drop),
        Kind::Assignors => parse::assignors(key, node).map(drop),
        Kind::OnFailure => parse::action(key, node).map(drop),
        Kind::Properties | Kind::ProducerProperties | Kind::Free | Kind::Table(_) | Kind::Named(_) => Ok(()),
    }
}

fn unknown(name: &str, entry: &Entry, spec: &'static [Key], path: &[String]) -> Problem {
    let place =
        if path.is_empty() { "at the top level".to_owned() } else { format!("in `{}`", shown(&path.join("."))) };
    let problem = Problem::new(&entry.key, format!("unknown key `{}` {place}", shown(name)));
    if let Some(key) = same_word(name, spec) {
        return problem.help(format!("did you mean `{}`?", key.name));
    }
    for (table, other) in [("kafka", keys::KAFKA), ("listener", keys::LISTENER)] {
        if !keys::is_same_table(other, spec)
            && let Some(key) = same_word(name, other)
        {
            return problem.help(format!("`{}` belongs into `[{table}]`", key.name));
        }
    }
    match nearest(name, spec.iter().map(|key| key.name)) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("allowed: {}", listed(spec.iter().map(|key| key.name)))),
    }
}

/// The key that has this name with Spring, with librdkafka or in another habit of spelling.
fn same_word(name: &str, spec: &'static [Key]) -> Option<&'static Key> {
    let wanted = normalised(name);
    let same = |other: &str| !other.is_empty() && normalised(other) == wanted;
    let last = |path: &'static str| path.rsplit(['.', '(', '[']).next().unwrap_or(path).trim_end_matches([')', ']']);
    spec.iter().find(|key| same(key.name)).or_else(|| {
        spec.iter().find(|key| key.owned_properties().any(same) || same(key.spring) || same(last(key.spring)))
    })
}

/// A class in `on_failure` that looks like a misspelt one of the library's: names are free, so it is only a warning.
pub(crate) fn misspelt_class(class: &str) -> Option<&'static str> {
    if CLASSES.contains(&class) || ACTIONS.contains(&class) {
        return None;
    }
    nearest(class, CLASSES.iter().copied())
}
