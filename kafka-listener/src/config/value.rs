//! Values on their way from a source to a setting: what they are, and where they were written.
//!
//! Public [`Value`]s come from the builder. Inside, every value is a [`Node`] that remembers its [`Origin`], so that an
//! error can point at it. Nothing here prints a text: it may be a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A value for `ListenerRegistry::builder().set(path, value)`.
///
/// Texts are converted to the type of the key, as they are from environment variables: `"45s"`, `"6"`, `"true"`, `"a,b"`.
/// They are taken literally, `${…}` included. `Debug` shows no text, because it may be a password.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A text; also durations (`"45s"`), sizes (`"8MiB"`) and names.
    String(String),
    /// An integer; milliseconds for a duration, bytes for a size.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    List(Vec<Self>),
    /// A table, as `retry` or `properties`.
    Table(BTreeMap<String, Self>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(_) => f.write_str("String([redacted])"),
            Self::Integer(_) => f.write_str("Integer([redacted])"),
            Self::Float(_) => f.write_str("Float([redacted])"),
            Self::Boolean(value) => f.debug_tuple("Boolean").field(value).finish(),
            Self::List(items) => f.debug_tuple("List").field(items).finish(),
            Self::Table(entries) => f.debug_tuple("Table").field(entries).finish(),
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

value_from! {
    &str => String, String => String, &String => String,
    i64 => Integer, i32 => Integer, u32 => Integer, u16 => Integer, u8 => Integer,
    f64 => Float, f32 => Float, bool => Boolean,
}

macro_rules! value_from_wide {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Value {
            /// More than [`i64::MAX`] becomes that, which no key takes.
            fn from(value: $type) -> Self {
                Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
    )*};
}

value_from_wide! { u64, usize }

impl From<std::time::Duration> for Value {
    /// As milliseconds; a duration of more than 292 million years becomes the longest one.
    fn from(value: std::time::Duration) -> Self {
        Self::Integer(i64::try_from(value.as_millis()).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<BTreeMap<String, T>> for Value {
    fn from(entries: BTreeMap<String, T>) -> Self {
        Self::Table(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
    }
}

/// The text of one configuration file, kept for the excerpts in error reports.
pub(crate) struct SourceFile {
    /// As it was named by the user.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Position among the files read: reports are sorted by it.
    pub(crate) index: usize,
    /// Unset, and no excerpt shown, until the file has been read through.
    pub(crate) marks: OnceLock<Marks>,
}

/// What an excerpt needs to know of a file.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// What no excerpt may show.
    pub(crate) hidden: Vec<Range<usize>>,
    /// Keys and values: a `#` in them does not start a comment.
    pub(crate) literal: Vec<Range<usize>>,
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Built into the library.
    Default,
    /// Bytes `span` of a file.
    File { file: Arc<SourceFile>, span: Range<usize> },
    /// An argument of the attribute, or the attribute as a whole.
    Attribute { file: &'static str, line: u32, column: u32 },
    /// The environment variable of this name.
    Environment(Arc<str>),
    /// `.set(path, …)` or another method of the builder, as it should be shown.
    Builder(Arc<str>),
}

impl Origin {
    /// Orders reports: by source, then by place.
    pub(crate) fn sort_key(&self) -> (u8, usize, usize, &str) {
        match self {
            Self::Default => (0, 0, 0, ""),
            Self::File { file, span } => (1, file.index, span.start, ""),
            Self::Attribute { file, line, column } => (2, *line as usize, *column as usize, file),
            Self::Environment(name) => (3, 0, 0, name),
            Self::Builder(call) => (4, 0, 0, call),
        }
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.sort_key() == other.sort_key()
    }
}

impl Eq for Origin {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, span } => {
                let (line, column) = line_and_column(&file.text, span.start);
                write!(f, "{}:{line}:{column}", file.name)
            }
            Self::Attribute { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Builder(call) => write!(f, "builder {call}"),
        }
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A value with its origin.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Tree,
    pub(crate) origin: Origin,
    /// It came out of a secret file: not even a harmless key may print it.
    pub(crate) secret: bool,
    /// A text that stands for any type: it came from the environment, the builder or a placeholder.
    pub(crate) loose: bool,
}

/// What a [`Node`] is.
#[derive(Clone)]
pub(crate) enum Tree {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// A type that no key takes; the word for errors.
    #[cfg_attr(
        not(any(feature = "toml", feature = "json")),
        expect(dead_code, reason = "only files and JSON have them")
    )]
    Foreign(&'static str),
}

/// Keys with their values.
pub(crate) type Table = BTreeMap<String, Entry>;

/// A value, and where its key is written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Origin,
    pub(crate) node: Node,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.kind(), self.origin)
    }
}

impl Node {
    pub(crate) fn new(value: Tree, origin: Origin) -> Self {
        Self { value, origin, secret: false, loose: false }
    }

    /// A text that is converted to whatever the key asks for.
    pub(crate) fn loose(text: impl Into<String>, origin: Origin) -> Self {
        Self { value: Tree::Text(text.into()), origin, secret: false, loose: true }
    }

    /// The builder's value; every part of it has the same origin.
    pub(crate) fn from_value(value: Value, origin: &Origin) -> Self {
        let value = match value {
            Value::String(text) => return Self::loose(text, origin.clone()),
            Value::Integer(number) => Tree::Integer(number),
            Value::Float(number) => Tree::Float(number),
            Value::Boolean(flag) => Tree::Boolean(flag),
            Value::List(items) => Tree::List(items.into_iter().map(|item| Self::from_value(item, origin)).collect()),
            Value::Table(entries) => Tree::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Entry { key: origin.clone(), node: Self::from_value(value, origin) }))
                    .collect(),
            ),
        };
        Self::new(value, origin.clone())
    }

    /// The word for its type in errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Tree::Text(_) => "a string",
            Tree::Integer(_) => "an integer",
            Tree::Float(_) => "a float",
            Tree::Boolean(_) => "a boolean",
            Tree::List(_) => "a list",
            Tree::Table(_) => "a table",
            Tree::Foreign(kind) => kind,
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Tree::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Tree::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value as one line of text; the caller has made sure that it may be shown.
    pub(crate) fn to_text(&self) -> String {
        if self.secret {
            return "[redacted]".to_owned();
        }
        match &self.value {
            Tree::Text(text) => text.clone(),
            Tree::Integer(number) => number.to_string(),
            Tree::Float(number) => format!("{number:?}"),
            Tree::Boolean(flag) => flag.to_string(),
            Tree::List(items) => items.iter().map(Self::to_text).collect::<Vec<_>>().join(", "),
            Tree::Table(_) | Tree::Foreign(_) => self.kind().to_owned(),
        }
    }
}

/// The sub-table `key`, where there is one.
pub(crate) fn sub_table<'t>(table: &'t Table, key: &str) -> Option<&'t Table> {
    table.get(key).and_then(|entry| entry.node.table())
}
