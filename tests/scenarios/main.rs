//! Behaviour on a real Kafka: one binary, a module per behaviour.
#![expect(clippy::unwrap_used, reason = "where a test cannot go on it fails, helpers included")]

mod ack_modes;
mod broker;
mod broker_faults;
mod codecs;
mod commit_errors;
mod common;
mod control;
mod corruption;
mod dead_letters;
mod declined;
mod desk;
mod error_handlers;
mod failure_policies;
mod failures;
mod fan_out;
mod groups;
mod handler_timeout;
mod hooks;
mod leaving;
mod members;
mod missing_topics;
mod ordering;
mod ownership;
mod panics;
mod payloads;
mod producing;
mod rebalance;
mod second_signal;
mod slots;
mod slow_handlers;
mod start_offsets;
mod stop_under_load;
mod wire;
mod wire_commits;
mod wire_faults;
