//! The table of keys: what can be configured, where, with which type, range and default.
//!
//! Reading, the JSON Schema, the reference page and the suggestions in errors all come from it.

mod failures;
mod group;
mod kafka;
mod limits;
pub(crate) mod listener;
mod reading;

pub(crate) use kafka::{KAFKA, PRODUCER, SASL, TLS};
pub(crate) use listener::{CLASS, LISTENER};

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it would be written in the environment.
    pub(crate) default: Option<&'static str>,
    /// What the default is taken from, or why it is another one than librdkafka's.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "the schema and the reference page say it"))]
    pub(crate) default_from: &'static str,
    pub(crate) doc: &'static str,
    /// The properties of librdkafka that this key owns, separated by spaces.
    pub(crate) librdkafka: &'static str,
    /// What Spring users call it: below `spring.kafka.` or a word of its annotation or container.
    pub(crate) spring: &'static str,
    /// May the attribute set it?
    pub(crate) attribute: bool,
    /// Its value is never shown.
    pub(crate) secret: bool,
}

/// The type of a key's value with its range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    /// A text with a unit or milliseconds; the bounds are milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// A list of them, or one text with commas.
    Durations {
        min: u64,
        max: u64,
    },
    /// A text with a unit or bytes.
    Size {
        min: u64,
        max: u64,
    },
    Text,
    /// A list, or one text with commas.
    Texts,
    Choice(&'static [&'static str]),
    /// `earliest`, `latest`, `error` or `by_duration:1h`.
    OffsetReset,
    /// Ranges for every topic, or a table or list of ranges by topic.
    Partitions,
    /// A place in the log.
    InitialOffset,
    /// Assignors of librdkafka, or Java's class names.
    Assignors,
    /// An action, or a table by class of error: of actions, or of tables with the keys of [`CLASS`].
    OnFailure,
    /// librdkafka's own names.
    Properties,
    /// Those that a producer takes.
    ProducerProperties,
    /// Anything: the user's own values for placeholders.
    Free,
    /// Fixed keys.
    Table(&'static [Key]),
    /// A table of tables under names that the user chooses.
    Named(&'static [Key]),
}

const KEY: Key = Key {
    name: "",
    kind: Kind::Free,
    default: None,
    default_from: "",
    doc: "",
    librdkafka: "",
    spring: "",
    attribute: false,
    secret: false,
};

/// The top level of the file.
pub(crate) static ROOT: &[Key] = &[
    Key {
        name: "config_version",
        kind: Kind::Integer { min: 1, max: 1 },
        default: Some("1"),
        default_from: "the only one there is",
        doc: "Version of this format.",
        ..KEY
    },
    Key {
        name: "only",
        kind: Kind::Texts,
        default: Some(""),
        default_from: "all that are linked in",
        doc: "Ids of the listeners to run; empty: all that are linked in. The builder's `only` wins.",
        ..KEY
    },
    Key {
        name: "expected",
        kind: Kind::Texts,
        default: Some(""),
        default_from: "nothing is expected",
        doc: "Ids that must be linked in, whether they run or not: a guard against a listener lost by the linker.",
        ..KEY
    },
    Key { name: "kafka", kind: Kind::Table(KAFKA), doc: "The cluster, and how to reach it.", ..KEY },
    Key {
        name: "listener",
        kind: Kind::Table(LISTENER),
        doc: "Defaults of every listener.",
        spring: "listener",
        ..KEY
    },
    Key {
        name: "container_factories",
        kind: Kind::Named(LISTENER),
        doc: "Named blocks of the same keys, chosen by `container_factory`.",
        ..KEY
    },
    Key {
        name: "listeners",
        kind: Kind::Named(LISTENER),
        doc: "The same keys for one listener, by its id; they win over the attribute.",
        ..KEY
    },
    Key {
        name: "profiles",
        kind: Kind::Named(PROFILE),
        doc: "The tables above once more by profile; they are laid over the file where the profile is active.",
        spring: "spring.profiles",
        ..KEY
    },
    Key { name: "app", kind: Kind::Free, doc: "Free values that placeholders may name.", ..KEY },
];

/// `[profiles.NAME]`.
pub(crate) static PROFILE: &[Key] = &[
    Key { name: "only", kind: Kind::Texts, doc: "Replaces the top level's `only`.", ..KEY },
    Key { name: "expected", kind: Kind::Texts, doc: "Replaces the top level's `expected`.", ..KEY },
    Key { name: "kafka", kind: Kind::Table(KAFKA), doc: "Laid over `[kafka]`.", ..KEY },
    Key { name: "listener", kind: Kind::Table(LISTENER), doc: "Laid over `[listener]`.", ..KEY },
    Key { name: "container_factories", kind: Kind::Named(LISTENER), doc: "Laid over `[container_factories]`.", ..KEY },
    Key { name: "listeners", kind: Kind::Named(LISTENER), doc: "Laid over `[listeners]`.", ..KEY },
    Key { name: "app", kind: Kind::Free, doc: "Laid over `[app]`.", ..KEY },
];

/// Values of `on_failure`.
pub(crate) static ACTIONS: &[&str] = &["hold", "dead_letter", "skip", "stop"];

/// Classes of errors that the library itself gives, and `default`.
pub(crate) static CLASSES: &[&str] =
    &["decode", "too_large", "validation", "timeout", "panic", "terminal", "retryable", "default"];

/// Those of [`CLASSES`] whose errors are never tried again.
pub(crate) static TERMINAL_CLASSES: &[&str] = &["decode", "too_large", "validation", "terminal"];

/// Assignors of librdkafka.
pub(crate) static ASSIGNORS: &[&str] = &["cooperative-sticky", "range", "roundrobin"];

/// The key of this name in `keys`.
pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Whether both are the same table. Told by the names: a static may reach the compiler's units as a copy in each, so that
/// one table has several addresses.
pub(crate) fn is_same_table(one: &[Key], other: &[Key]) -> bool {
    one.iter().map(|key| key.name).eq(other.iter().map(|key| key.name))
}

/// The key of this name, which the caller knows to exist.
pub(crate) fn known(keys: &'static [Key], name: &str) -> &'static Key {
    find(keys, name).expect("callers name keys of the table; a test reads every one of them")
}

impl Key {
    /// May a log or an excerpt show the value? Only where it is known to be harmless.
    pub(crate) fn printable(&self) -> bool {
        match self.kind {
            Kind::Free | Kind::Properties | Kind::ProducerProperties | Kind::Table(_) | Kind::Named(_) => false,
            _ => !self.secret,
        }
    }

    /// The properties of librdkafka that this key owns.
    pub(crate) fn owned_properties(&self) -> impl Iterator<Item = &'static str> {
        self.librdkafka.split_ascii_whitespace()
    }
}
