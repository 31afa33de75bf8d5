//! TOML text to a tree of values with places.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::keys::{self, Key, Kind};
use super::report::{Problem, Report};
use super::value::{Marks, Origin, SourceFile, Table};

/// A configuration file is text written by people: a larger one is a mistake, and is not read.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// Reads a file that must exist.
pub(crate) fn read(path: &Path, named_by: &Origin, report: &mut Report) -> Option<String> {
    let shown = path.display();
    let text = std::fs::metadata(path).and_then(|metadata| {
        if metadata.len() > LARGEST_FILE {
            return Err(std::io::Error::other(format!("larger than {LARGEST_FILE} bytes")));
        }
        std::fs::read_to_string(path)
    });
    match text {
        Ok(text) => Some(text),
        Err(error) => {
            report.add_unreadable(Problem::new(named_by, format!("cannot read configuration file `{shown}`: {error}")));
            None
        }
    }
}

/// Parses `text`. On a syntax error nothing of the file counts.
pub(crate) fn parse(name: &str, text: &str, index: usize, report: &mut Report) -> Table {
    let file = Arc::new(SourceFile { name: name.to_owned(), text: text.to_owned(), index, marks: OnceLock::new() });
    match parser::parse(&file) {
        Ok((table, literal)) => {
            let mut hidden = Vec::new();
            hide_in_table(&table, keys::ROOT, &mut hidden);
            let _first_and_only = file.marks.set(Marks { hidden, literal });
            table
        }
        Err(errors) => {
            let _first_and_only = file.marks.set(Marks { hidden: hidden_in_broken_text(text), literal: Vec::new() });
            for (span, message) in errors {
                report.add_unreadable(Problem::new(&Origin::File { file: Arc::clone(&file), span }, message));
            }
            Table::new()
        }
    }
}

/// Everything is hidden but the values of keys that are known to be harmless.
fn hide_in_table(table: &Table, spec: &'static [Key], hidden: &mut Vec<Range<usize>>) {
    for (name, entry) in table {
        match keys::find(spec, name).map(|key| (key, key.kind, entry.node.table())) {
            Some((_, Kind::Table(inner), Some(table))) => hide_in_table(table, inner, hidden),
            Some((_, Kind::Named(inner), Some(tables))) => {
                for named in tables.values() {
                    match named.node.table() {
                        Some(table) => hide_in_table(table, inner, hidden),
                        None => hide_scalars(&named.node, hidden),
                    }
                }
            }
            Some((key, ..)) if key.printable() => {}
            _ => hide_scalars(&entry.node, hidden),
        }
    }
}

fn hide_scalars(node: &super::value::Node, hidden: &mut Vec<Range<usize>>) {
    use super::value::Tree;
    match (&node.value, &node.origin) {
        (Tree::Table(table), _) => table.values().for_each(|entry| hide_scalars(&entry.node, hidden)),
        (Tree::List(items), _) => items.iter().for_each(|item| hide_scalars(item, hidden)),
        (_, Origin::File { span, .. }) => hidden.push(span.clone()),
        _ => {}
    }
}

/// Where a file does not parse, nobody knows which characters are a secret: of a line only a table's header, or the name
/// of a known key and the punctuation after it, is shown.
fn hidden_in_broken_text(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        hidden.push(start + shown_of_broken_line(line)..start + line.trim_end().len());
        start += line.len();
    }
    hidden
}

/// How many bytes of the line may be shown.
fn shown_of_broken_line(line: &str) -> usize {
    let bare = |character: char| character.is_ascii_alphanumeric() || "_-. ".contains(character);
    let name_start = line.len() - line.trim_start_matches([' ', '\t', '[']).len();
    let name_end = line[name_start..].find(|character| !bare(character)).map_or(line.len(), |at| name_start + at);
    let mut parts = line[name_start..name_end].split(['.', ' ']).filter(|part| !part.is_empty());
    let Some(first) = parts.next() else { return 0 };
    // Names in a header are the user's own.
    let is_header = line.trim_start().starts_with('[');
    if !is_known(keys::ROOT, first) || (!is_header && parts.any(|part| !is_known(keys::ROOT, part))) {
        return 0;
    }
    let punctuation = |character: char| !" =[]{},'\"".contains(character);
    line[name_end..].find(punctuation).map_or(line.len(), |at| name_end + at)
}

/// Is this the name of a key, in whatever table?
fn is_known(spec: &'static [Key], name: &str) -> bool {
    spec.iter().any(|key| {
        let inner = match key.kind {
            Kind::Table(inner) | Kind::Named(inner) => inner,
            _ => &[],
        };
        key.name == name || is_known(inner, name)
    })
}

#[cfg(feature = "toml")]
mod parser {
    use std::ops::Range;
    use std::sync::Arc;

    use toml::de::{DeTable, DeValue};

    use crate::config::value::{Entry, Node, Origin, SourceFile, Table, Tree};

    type Errors = Vec<(Range<usize>, String)>;

    pub(super) fn parse(file: &Arc<SourceFile>) -> Result<(Table, Vec<Range<usize>>), Errors> {
        let (document, errors) = DeTable::parse_recoverable(&file.text);
        if errors.is_empty() {
            let mut reader = Reader { file, literal: Vec::new() };
            let table = reader.table(document.get_ref());
            return Ok((table, reader.literal));
        }
        Err(errors
            .iter()
            .map(|error| (error.span().unwrap_or_default(), error.message().trim().replace('\n', ", ")))
            .collect())
    }

    struct Reader<'f> {
        file: &'f Arc<SourceFile>,
        literal: Vec<Range<usize>>,
    }

    impl Reader<'_> {
        fn origin(&self, span: Range<usize>) -> Origin {
            Origin::File { file: Arc::clone(self.file), span }
        }

        fn table(&mut self, table: &DeTable<'_>) -> Table {
            let mut result = Table::new();
            for (key, value) in table {
                self.literal.push(key.span());
                let entry = Entry { key: self.origin(key.span()), node: self.node(value.get_ref(), value.span()) };
                result.insert(key.get_ref().to_string(), entry);
            }
            result
        }

        fn node(&mut self, value: &DeValue<'_>, span: Range<usize>) -> Node {
            let tree = match value {
                DeValue::String(text) => Tree::Text(text.to_string()),
                DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                    .map_or(Tree::Foreign("a huge integer"), Tree::Integer),
                DeValue::Float(number) => number.as_str().parse().map_or(Tree::Foreign("a huge float"), Tree::Float),
                DeValue::Boolean(flag) => Tree::Boolean(*flag),
                DeValue::Datetime(_) => Tree::Foreign("a date"),
                DeValue::Array(items) => {
                    Tree::List(items.iter().map(|item| self.node(item.get_ref(), item.span())).collect())
                }
                DeValue::Table(table) => Tree::Table(self.table(table)),
            };
            if !matches!(tree, Tree::Table(_) | Tree::List(_)) {
                self.literal.push(span.clone());
            }
            Node::new(tree, self.origin(span))
        }
    }
}

#[cfg(not(feature = "toml"))]
mod parser {
    use std::ops::Range;
    use std::sync::Arc;

    use crate::config::value::{SourceFile, Table};

    type Errors = Vec<(Range<usize>, String)>;

    pub(super) fn parse(_file: &Arc<SourceFile>) -> Result<(Table, Vec<Range<usize>>), Errors> {
        Err(vec![(0..0, "configuration files need the feature `toml`, which is off".to_owned())])
    }
}

#[cfg(all(test, not(feature = "toml")))]
mod tests {
    use crate::config::{ConfigSource, Environment, Sources, resolve};

    #[test]
    fn a_named_file_needs_the_feature() {
        let file = ConfigSource::Text { name: "a.toml".to_owned(), text: String::new() };
        let sources = Sources { file, environment: Environment::Off, ..Sources::default() };
        let report = resolve(&sources, &[]).expect_err("files cannot be read").to_string();
        assert!(report.contains("the feature `toml`"), "{report}");
        resolve(&Sources { file: ConfigSource::Lookup, ..sources }, &[]).expect("no file is named");
    }
}
