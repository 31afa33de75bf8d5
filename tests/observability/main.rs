//! What a service shows of itself: log, spans, metrics, status, health. A binary of its own, because what listens to
//! logs and metrics is set once per process.
#![expect(clippy::unwrap_used, reason = "where a test cannot go on it fails, helpers included")]

mod common;
mod health;
mod idle;
mod log;
mod metrics;
mod rebalance_line;
mod secrets;
mod span;
mod start_line;
mod status;
