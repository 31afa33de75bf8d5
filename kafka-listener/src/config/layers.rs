//! Sources to one tree: file, then profiles, then environment, then builder, merged table by table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment;
use super::keys::{self, Kind};
use super::report::{Problem, Report, listed, shown};
use super::value::{Entry, Node, Origin, Table, Tree, Value, sub_table};
use super::{file, lint};

/// Where the configuration comes from, as the builder was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: ConfigSource,
    /// `.profiles([…])`; wins over `KAFKA_LISTENER_PROFILES`.
    pub(crate) profiles: Option<Vec<String>>,
    /// `.set(path, value)` in the order of the calls.
    pub(crate) set: Vec<(String, Value)>,
    pub(crate) environment: Environment,
    /// `.only([ids])`; wins over the key `only`.
    pub(crate) only: Option<Vec<String>>,
    /// Where to look for `kafka-listener.toml`; `None`: the working directory.
    pub(crate) directory: Option<PathBuf>,
    /// `.without_discovery()` was called: said where a listener is missing.
    pub(crate) without_discovery: bool,
}

/// The main configuration file.
#[derive(Clone, Default)]
pub(crate) enum ConfigSource {
    /// `KAFKA_LISTENER_CONFIG`, else `kafka-listener.toml` where it exists.
    #[default]
    Lookup,
    /// `.config_file(path)`: must exist.
    File(PathBuf),
    /// `.config_str(text)`, shown under `name`.
    Text { name: String, text: String },
}

impl std::fmt::Debug for ConfigSource {
    /// The text may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lookup => f.write_str("Lookup"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text { name, .. } => f.debug_struct("Text").field("name", name).finish_non_exhaustive(),
        }
    }
}

/// The environment variables to read.
#[derive(Clone, Default)]
pub(crate) enum Environment {
    /// Those of the process.
    #[default]
    Process,
    /// None.
    Off,
    /// These instead.
    Variables(Vec<(String, String)>),
}

impl std::fmt::Debug for Environment {
    /// Values may be secrets, and the process has many that are none of our business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Process => "Process",
            Self::Off => "Off",
            Self::Variables(_) => "Variables([redacted])",
        })
    }
}

impl Environment {
    fn load(&self, report: &mut Report) -> BTreeMap<String, String> {
        match self {
            Self::Off => BTreeMap::new(),
            Self::Variables(variables) => variables.iter().cloned().collect(),
            Self::Process => std::env::vars_os().filter_map(|(name, value)| unicode(name, value, report)).collect(),
        }
    }
}

/// Variables that are not Unicode cannot be named in a placeholder; ours must be.
fn unicode(name: OsString, value: OsString, report: &mut Report) -> Option<(String, String)> {
    let name = name.into_string().ok()?;
    match value.into_string() {
        Ok(value) => Some((name, value)),
        Err(_) if name.starts_with("KAFKA_LISTENER_") => {
            report.add(Problem::new(&Origin::Environment(name.into()), "the value is not valid UTF-8"));
            None
        }
        Err(_) => None,
    }
}

/// Everything merged. Not `Debug`: the environment is full of other people's secrets.
pub(crate) struct Merged {
    pub(crate) root: Table,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) warnings: Vec<String>,
}

/// An active profile.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// A table or a file of that name exists.
    pub(crate) found: bool,
    pub(crate) looked_in: String,
}

/// Reads and merges all sources; `listener_ids` are those that environment variables may name.
pub(crate) fn merge(sources: &Sources, listener_ids: &[&str], report: &mut Report) -> Merged {
    let environment = sources.environment.load(report);
    let mut files = Files { count: 0, warnings: Vec::new() };
    let main = MainFile::find(sources, &environment, report);
    let mut root = main.as_ref().map_or_else(Table::new, |main| files.load(main, report));

    let mut named_profiles = take_tables(&mut root, "profiles");
    let directory = match &main {
        Some(MainFile { path: Some(path), .. }) => path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
        _ => sources.directory.clone().unwrap_or_default(),
    };
    let beside_main = !matches!(sources.file, ConfigSource::Text { .. });
    let mut profiles = Vec::new();
    for (name, origin) in active_profiles(sources, &environment, report) {
        let table = named_profiles.remove(&name);
        let path = directory.join(format!("kafka-listener-{name}.toml"));
        let from_file =
            (beside_main && path.exists()).then(|| file::read(&path, &origin, report)).flatten().map(|text| {
                files.load(&MainFile { name: path.display().to_string(), text, path: Some(path.clone()) }, report)
            });
        let mut looked_in = format!("`[profiles.{name}]`");
        if beside_main {
            looked_in = format!("{looked_in}, `{}`", path.display());
        }
        profiles.push(Profile { name, origin, found: table.is_some() || from_file.is_some(), looked_in });
        if let Some(nested) = from_file.as_ref().and_then(|layer| layer.get("profiles")) {
            report.add(Problem::new(&nested.key, "the tables of profiles belong into the main file"));
        }
        for mut layer in table.into_iter().chain(from_file) {
            layer.remove("profiles");
            normalise(&mut layer, report);
            overlay(&mut root, layer);
        }
    }

    for layer in [environment::layer(&environment, &root, listener_ids, report), builder_layer(sources, report)] {
        let mut layer = layer;
        if let Some(tables) = layer.remove("profiles") {
            report.add(
                Problem::new(&tables.key, "the tables of profiles belong into the main file")
                    .help("which profiles are active is told by `KAFKA_LISTENER_PROFILES` or `.profiles([…])`"),
            );
        }
        lint::check(&layer, report);
        normalise(&mut layer, report);
        overlay(&mut root, layer);
    }
    Merged { root, environment, profiles, warnings: files.warnings }
}

/// The main file's name, text and, where it is one, path.
struct MainFile {
    name: String,
    text: String,
    path: Option<PathBuf>,
}

impl MainFile {
    fn find(sources: &Sources, environment: &BTreeMap<String, String>, report: &mut Report) -> Option<Self> {
        let required = |path: &Path, origin: &Origin, report: &mut Report| {
            let text = file::read(path, origin, report)?;
            Some(Self { name: path.display().to_string(), text, path: Some(path.to_path_buf()) })
        };
        match &sources.file {
            ConfigSource::Text { name, text } => Some(Self { name: name.clone(), text: text.clone(), path: None }),
            ConfigSource::File(path) => required(path, &Origin::Builder(".config_file(…)".into()), report),
            ConfigSource::Lookup => {
                if let Some(path) = environment.get("KAFKA_LISTENER_CONFIG").filter(|path| !path.is_empty()) {
                    return required(Path::new(path), &Origin::Environment("KAFKA_LISTENER_CONFIG".into()), report);
                }
                // Without the feature a file that nobody named is none of our business.
                let path = sources.directory.clone().unwrap_or_default().join("kafka-listener.toml");
                let wanted = cfg!(feature = "toml") && path.exists();
                wanted.then(|| required(&path, &Origin::Default, report)).flatten()
            }
        }
    }
}

/// Numbers the files read, for the order of the report.
struct Files {
    count: usize,
    warnings: Vec<String>,
}

impl Files {
    fn load(&mut self, main: &MainFile, report: &mut Report) -> Table {
        let mut table = file::parse(&main.name, &main.text, self.count, report);
        self.count += 1;
        lint::check(&table, report);
        if let Some(path) = &main.path {
            self.warn_of_readable_secret(path, &table);
        }
        normalise(&mut table, report);
        table
    }

    /// A password in a file that everybody on the machine can read.
    #[cfg(unix)]
    fn warn_of_readable_secret(&mut self, path: &Path, table: &Table) {
        use std::os::unix::fs::PermissionsExt as _;

        let readable = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        if !readable {
            return;
        }
        let Some(kafka) = sub_table(table, "kafka") else { return };
        for (inner, spec) in [("sasl", keys::SASL), ("tls", keys::TLS)] {
            for key in spec.iter().filter(|key| key.secret) {
                let entry = sub_table(kafka, inner).and_then(|table| table.get(key.name));
                if let Some(Entry { node: Node { value: Tree::Text(text), origin, .. }, .. }) = entry
                    && !text.contains("${")
                    && (key.name != "key" || text.contains("-----BEGIN"))
                {
                    self.warnings.push(format!(
                        "{origin}: `kafka.{inner}.{}` is a secret in a file that everybody on this machine can read; \
                         take it from `${{file:…}}` or the environment, or restrict the file's permissions",
                        key.name
                    ));
                }
            }
        }
    }

    #[cfg(not(unix))]
    fn warn_of_readable_secret(&mut self, _path: &Path, _table: &Table) {}
}

fn active_profiles(
    sources: &Sources,
    environment: &BTreeMap<String, String>,
    report: &mut Report,
) -> Vec<(String, Origin)> {
    const VARIABLE: &str = "KAFKA_LISTENER_PROFILES";
    let (names, origin) = match (&sources.profiles, environment.get(VARIABLE)) {
        (Some(names), _) => (names.clone(), Origin::Builder(".profiles(…)".into())),
        (None, Some(names)) => {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            (names.map(str::to_owned).collect(), Origin::Environment(VARIABLE.into()))
        }
        (None, None) => return Vec::new(),
    };
    let mut active: Vec<(String, Origin)> = Vec::new();
    for name in names {
        // The name becomes part of a file name.
        let legal = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
        if name.is_empty() || !name.chars().all(legal) {
            report.add(
                Problem::new(&origin, format!("`{}` is not the name of a profile", shown(&name)))
                    .help("letters, digits, `_`, `-` and `.`"),
            );
        } else if !active.iter().any(|(known, _)| *known == name) {
            active.push((name, origin.clone()));
        }
    }
    active
}

/// Takes a table of tables out of its parent.
fn take_tables(root: &mut Table, key: &str) -> BTreeMap<String, Table> {
    let Some(Tree::Table(tables)) = root.remove(key).map(|entry| entry.node.value) else { return BTreeMap::new() };
    tables
        .into_iter()
        .filter_map(|(name, entry)| match entry.node.value {
            Tree::Table(table) => Some((name, table)),
            _ => None,
        })
        .collect()
}

fn builder_layer(sources: &Sources, report: &mut Report) -> Table {
    let mut root = Table::new();
    for (path, value) in &sources.set {
        let origin = Origin::Builder(Arc::from(format!(".set(\"{}\")", shown(path))));
        match split_path(path) {
            Some(parts) => {
                let node = Node::from_value(value.clone(), &origin);
                insert(&mut root, &parts, node, &origin);
            }
            None => report.add(
                Problem::new(&origin, "this is not the path of a key")
                    .help("dotted, as `listeners.reserve_stock.concurrency`; parts with dots in double quotes"),
            ),
        }
    }
    if let Some(ids) = &sources.only {
        let origin = Origin::Builder(".only(…)".into());
        let node = Node::from_value(ids.clone().into(), &origin);
        insert(&mut root, &["only".to_owned()], node, &origin);
    }
    root
}

/// Splits at dots outside double quotes; what follows `properties` is one name, since librdkafka's have dots.
fn split_path(path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = path;
    loop {
        let properties_at = match parts.first().map(String::as_str) {
            Some("kafka") if parts.get(1).is_some_and(|part| part == "producer") => 3,
            Some("kafka" | "listener") => 2,
            _ => 3,
        };
        if parts.len() == properties_at && parts.last().is_some_and(|part| part == "properties") {
            parts.push(rest.trim_matches('"').to_owned());
            break;
        }
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let (part, after) = quoted.split_once('"')?;
            (part, after)
        } else {
            rest.split_at(rest.find('.').unwrap_or(rest.len()))
        };
        parts.push(part.to_owned());
        if after.is_empty() {
            break;
        }
        rest = after.strip_prefix('.')?;
    }
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

/// Puts `node` at a path, making tables on the way; a later one wins over an earlier one.
pub(crate) fn insert(root: &mut Table, parts: &[String], node: Node, origin: &Origin) {
    let mut layer = node;
    for part in parts.iter().rev() {
        let table = Table::from([(part.clone(), Entry { key: origin.clone(), node: layer })]);
        layer = Node::new(Tree::Table(table), origin.clone());
    }
    if let Tree::Table(table) = layer.value {
        overlay(root, table);
    }
}

/// Lays one table over another: tables are merged, anything else is replaced.
pub(crate) fn overlay(base: &mut Table, layer: Table) {
    for (name, entry) in layer {
        let Some(below) = base.get_mut(&name) else {
            base.insert(name, entry);
            continue;
        };
        if name == "on_failure" {
            spread(below, &entry, "default");
            if let (Some(below), Some(above)) = (below.node.table_mut(), entry.node.table()) {
                for (class, above) in above {
                    if let Some(below) = below.get_mut(class) {
                        spread(below, above, "on_failure");
                    }
                }
            }
        }
        match (below.node.table_mut(), entry.node.value) {
            (Some(below), Tree::Table(table)) => overlay(below, table),
            (_, value) => *below = Entry { key: entry.key, node: Node { value, ..entry.node } },
        }
    }
}

/// A table over a single action keeps that action, under the name that a table has for it.
fn spread(below: &mut Entry, above: &Entry, name: &str) {
    if above.node.table().is_some() && matches!(below.node.value, Tree::Text(_)) {
        let action = below.clone();
        let origin = below.node.origin.clone();
        below.node = Node::new(Tree::Table(Table::from([(name.to_owned(), action)])), origin);
    }
}

/// Brings the spellings of one thing together, so that layers can be merged by key.
pub(crate) fn normalise(root: &mut Table, report: &mut Report) {
    for (name, entry) in root.iter_mut() {
        let Some(key) = keys::find(keys::ROOT, name) else { continue };
        let Some(table) = entry.node.table_mut() else { continue };
        match key.kind {
            Kind::Table(_) => normalise_block(table, report),
            Kind::Named(_) if name == "profiles" => {}
            Kind::Named(_) => {
                for named in table.values_mut() {
                    if let Some(table) = named.node.table_mut() {
                        normalise_block(table, report);
                    }
                }
            }
            _ => {}
        }
    }
}

/// `topic` becomes `topics`; tables below `properties`, written with dots but without quotes, become dotted names.
pub(crate) fn normalise_block(block: &mut Table, report: &mut Report) {
    if let Some(topic) = block.remove("topic") {
        if block.contains_key("topics") {
            report.add(Problem::new(&topic.key, "both `topic` and `topics` are set").help("one of them is enough"));
        } else {
            block.insert("topics".to_owned(), topic);
        }
    }
    // Of two layers that name partitions one counts, not a mixture of both.
    if let Some(node) = block.get_mut("partitions").map(|entry| &mut entry.node)
        && let Tree::Table(topics) = &mut node.value
    {
        let pair = |(topic, entry): (String, Entry)| {
            let topic = Node::new(Tree::Text(topic), entry.key.clone());
            Node::new(Tree::List(vec![topic, entry.node]), entry.key)
        };
        node.value = Tree::List(std::mem::take(topics).into_iter().map(pair).collect());
    }
    if let Some(producer) = block.get_mut("producer").and_then(|entry| entry.node.table_mut()) {
        normalise_block(producer, report);
    }
    if let Some(properties) = block.get_mut("properties").and_then(|entry| entry.node.table_mut()) {
        let mut flat = Table::new();
        flatten("", std::mem::take(properties), &mut flat, report);
        *properties = flat;
    }
}

fn flatten(prefix: &str, table: Table, flat: &mut Table, report: &mut Report) {
    for (name, entry) in table {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match entry.node.value {
            Tree::Table(inner) => flatten(&name, inner, flat, report),
            value => {
                let entry = Entry { key: entry.key, node: Node { value, ..entry.node } };
                if let Some(twice) = flat.get(&name) {
                    report.add(
                        Problem::new(&entry.key, format!("property {} is set twice", listed([name.as_str()])))
                            .help(format!("also at {}", twice.key)),
                    );
                }
                flat.insert(name, entry);
            }
        }
    }
}
