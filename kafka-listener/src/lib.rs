//! Spring-style declarative Kafka listeners for Rust.
#![expect(dead_code, reason = "the engine that uses these comes next")]

mod clock;
mod commit;
mod config;
mod definition;
#[cfg(feature = "embedded")]
pub mod embedded;
mod epoch;
mod failure;
mod kafka;
mod offset_jump;
mod offset_tracker;
mod phase;
mod record;
mod retry;
mod state;
mod worker;

pub use commit::CommitOutcome;
pub use config::AckMode;
pub use failure::{ErrorClass, ListenerError};
pub use phase::Phase;
pub use record::{HeaderIter, RecordContext, Timestamp, TopicPartition};
