//! Spring-style declarative Kafka listeners for Rust.
#![expect(dead_code, reason = "the engine that uses these comes next")]

mod config;
mod definition;
#[cfg(feature = "embedded")]
pub mod embedded;
mod failure;
mod kafka;
mod record;
mod state;
mod worker;

pub use config::AckMode;
pub use failure::{ErrorClass, ListenerError};
pub use record::{HeaderIter, RecordContext, Timestamp, TopicPartition};
