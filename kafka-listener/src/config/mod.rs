//! Configuration from TOML files, the environment, the builder and attributes.
//!
//! Sources are read to trees of values that know their place (`value`), merged table by table (`layers`), and read
//! through the scopes of each listener (`reader`, `listener`) to plain settings for the engine; one [`ConfigError`] tells
//! everything that is wrong. What can be configured at all stands in one table (`keys`), which the schema and the
//! reference page are made from. Nothing here knows the engine or connects to anything.

mod cluster;
mod commits;
mod environment;
mod failures;
mod file;
mod group;
mod keys;
mod layers;
mod lint;
mod listener;
mod order;
mod parse;
mod partitions;
mod placeholders;
mod producer;
mod properties;
mod reader;
mod report;
mod retry_topics;
#[cfg(feature = "json")]
mod schema;
mod select;
mod send_to;
mod settings;
mod subscription;
mod value;

#[cfg(test)]
mod tests;

pub use report::ConfigError;
#[cfg(feature = "json")]
pub use schema::json_schema;
pub use settings::AckMode;
pub use value::Value;

pub(crate) use layers::{ConfigSource, Environment, Sources};
pub(crate) use select::{Resolved, ResolvedListener, resolve};
pub(crate) use settings::*;
pub(crate) use subscription::illegal_topic;
#[cfg(all(test, feature = "toml", feature = "json"))]
pub(crate) use tests::settings_of_one_listener;
