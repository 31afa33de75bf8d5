//! Clients that could not be closed in time are served here until they are: dropping one earlier would leave a member
//! behind in its group until the session ends, and waiting for it would break a deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::ffi::{Client, Event};

static UNCLOSED: AtomicUsize = AtomicUsize::new(0);

/// The seats of clients that are not closed. Written by those who adopt and end them; a std mutex because nothing is done
/// under it.
static LEAVING: Mutex<Vec<Seat>> = Mutex::new(Vec::new());

/// The place of a static member in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) cluster: Arc<str>,
    pub(super) group_id: Arc<str>,
    pub(super) instance_id: String,
}

/// Whether a client of this process still holds the seat.
pub(super) fn is_leaving(seat: &Seat) -> bool {
    leaving().contains(seat)
}

fn leaving() -> MutexGuard<'static, Vec<Seat>> {
    LEAVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many clients of this process are still leaving their groups in the background.
pub(crate) fn unclosed_clients() -> usize {
    UNCLOSED.load(Ordering::Acquire)
}

/// Serves a closing client on a thread of its own until it is closed. The process may end without waiting for it.
pub(super) fn adopt(client: Client, seat: Option<Seat>) {
    let unclosed = Unclosed::new(seat);
    let spawned = thread::Builder::new().name("kafka-listener-reaper".to_owned()).spawn(move || {
        // A client that is fatally broken never closes; dropping it may take seconds all the same.
        while !client.is_closed() && client.fatal_error().is_none() && client.leave().is_ok() {
            if let Some(Event::Rebalance { kind, partitions }) = client.poll(Duration::from_millis(100)) {
                // Nothing is held any more: whatever the group asks, the answer is to give it back.
                if let Err(error) = client.decline(kind, &partitions, client.is_cooperative()) {
                    tracing::debug!(%error, "rebalance of a closing client not answered");
                }
            }
        }
        drop(client);
        drop(unclosed);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread to close a client on: its group learns of the end by the session timeout");
    }
}

/// Counts a client for as long as it is not closed.
struct Unclosed(Option<Seat>);

impl Unclosed {
    fn new(seat: Option<Seat>) -> Self {
        UNCLOSED.fetch_add(1, Ordering::AcqRel);
        metrics::gauge!("kafka_listener_unclosed_clients").increment(1.0);
        leaving().extend(seat.clone());
        Self(seat)
    }
}

impl Drop for Unclosed {
    fn drop(&mut self) {
        UNCLOSED.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("kafka_listener_unclosed_clients").decrement(1.0);
        if let Some(seat) = &self.0 {
            let mut leaving = leaving();
            if let Some(at) = leaving.iter().position(|one| one == seat) {
                leaving.swap_remove(at);
            }
        }
    }
}
