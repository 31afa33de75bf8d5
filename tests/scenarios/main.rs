//! Behaviour on a real Kafka: one binary, a module per behaviour.

mod broker;
mod fan_out;
