//! Faults that a test asks for and nothing else can cause. Behind the feature `test-hooks`; not public API.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

pub use crate::sabotage::{Sabotage, on_commit, sabotage};

/// Groups of which a poll loop is to panic.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whether there ever was one: the bench is built with this feature too and shall not pay for a lock per turn.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Lets the poll loop of a group panic at its next turn, once.
pub fn panic_in_poll_loop(group_id: impl Into<String>) {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(group_id.into());
    ASKED.store(true, Ordering::Release);
}

/// Called at each turn of a poll loop.
#[expect(clippy::panic, reason = "what was asked for")]
pub(crate) fn before_turn(group_id: &str) {
    if !ASKED.load(Ordering::Acquire) {
        return;
    }
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let asked_for = panics.iter().position(|group| group == group_id);
    if let Some(index) = asked_for {
        panics.swap_remove(index);
        drop(panics);
        panic!("asked for by a test");
    }
}
