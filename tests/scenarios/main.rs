//! Behaviour on a real Kafka: one binary, a module per behaviour.
#![expect(clippy::unwrap_used, reason = "where a test cannot go on it fails, helpers included")]

mod broker;
mod common;
mod corruption;
mod failures;
mod fan_out;
mod members;
mod ordering;
mod ownership;
mod panics;
mod payloads;
mod slots;
mod slow_handlers;
mod stop_under_load;
