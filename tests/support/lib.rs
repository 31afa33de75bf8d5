//! What the tests of the workspace share: a real Apache Kafka, an outside witness of it, and waiting with deadlines.

pub mod accounts;
pub mod broker;
pub mod checker;
pub mod clock;
pub mod event;
mod eventually;
pub mod kafka;
pub mod member;
pub mod mock;
pub mod proxy;
mod unique;

pub use broker::{Cluster, ClusterOptions, broker, proxied_broker};
pub use eventually::{Outcome, SOON, eventually};
pub use kafka::{CommitSampler, Isolation, Kafka, Record};
pub use member::{Member, MemberOptions};
pub use mock::MockKafka;
pub use proxy::{Effect, Fault, Proxy, Requests};
pub use unique::unique;
