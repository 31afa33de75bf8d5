//! Faults that a test asks for and nothing else can cause. Behind the feature `test-hooks`; not public API.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::record::TopicPartition;
pub use crate::sabotage::{Sabotage, on_commit, sabotage};

/// What is to happen, once each, and to whom: a group's poll loop, or the consumer of this client id.
static TO_COME: Mutex<Vec<(Fault, String)>> = Mutex::new(Vec::new());
/// Whether there ever was one: the bench is built with this feature too and shall not pay for a lock per turn.
static ASKED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PanicInTurn,
    PanicInRebalance,
    FailAssignment,
}

/// Lets the poll loop of a group panic at its next turn, once.
pub fn panic_in_poll_loop(group_id: impl Into<String>) {
    ask(Fault::PanicInTurn, group_id.into());
}

/// Lets the poll loop of a consumer panic when it is about to carry out its next rebalance.
pub fn panic_in_rebalance(client_id: impl Into<String>) {
    ask(Fault::PanicInRebalance, client_id.into());
}

/// Lets the next assignment of a consumer fail.
pub fn fail_assignment(client_id: impl Into<String>) {
    ask(Fault::FailAssignment, client_id.into());
}

fn ask(fault: Fault, of: String) {
    TO_COME.lock().unwrap_or_else(PoisonError::into_inner).push((fault, of));
    ASKED.store(true, Ordering::Release);
}

/// Called at each turn of a poll loop.
pub(crate) fn before_turn(group_id: &str) {
    assert!(!comes(Fault::PanicInTurn, group_id), "asked for by a test");
}

/// Called before a rebalance is carried out; one without partitions does not count.
pub(crate) fn before_rebalance(client_id: &str, partitions: &[TopicPartition]) {
    let panics = !partitions.is_empty() && comes(Fault::PanicInRebalance, client_id);
    assert!(!panics, "asked for by a test");
}

/// Asked before an assignment is taken over; one without partitions does not count.
pub(crate) fn fails_assignment(client_id: &str, partitions: &[TopicPartition]) -> bool {
    !partitions.is_empty() && comes(Fault::FailAssignment, client_id)
}

fn comes(fault: Fault, to: &str) -> bool {
    if !ASKED.load(Ordering::Acquire) {
        return false;
    }
    let mut to_come = TO_COME.lock().unwrap_or_else(PoisonError::into_inner);
    let index = to_come.iter().position(|(other, of)| *other == fault && of == to);
    index.map(|index| to_come.swap_remove(index)).is_some()
}
