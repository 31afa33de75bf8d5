//! What the tests of the workspace share: a real Apache Kafka, an outside witness of it, and waiting with deadlines.

pub mod broker;
mod eventually;
pub mod kafka;
mod unique;

pub use broker::{Cluster, ClusterOptions, broker};
pub use eventually::{Outcome, eventually};
pub use kafka::{Kafka, Record};
pub use unique::unique;
