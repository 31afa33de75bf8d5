//! Clients that could not be closed in time are served here until they are: dropping one earlier would leave a member
//! behind in its group until the session ends, and waiting for it would break a deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::ffi::{Client, Event};

static UNCLOSED: AtomicUsize = AtomicUsize::new(0);

/// How many clients of this process are still leaving their groups in the background.
pub(crate) fn unclosed_clients() -> usize {
    UNCLOSED.load(Ordering::Acquire)
}

/// Serves a closing client on a thread of its own until it is closed. The process may end without waiting for it.
pub(super) fn adopt(client: Client) {
    UNCLOSED.fetch_add(1, Ordering::AcqRel);
    metrics::gauge!("kafka_listener_unclosed_clients").increment(1.0);
    let spawned = thread::Builder::new().name("kafka-listener-reaper".to_owned()).spawn(move || {
        // A client that is fatally broken never closes; dropping it may take seconds all the same.
        while !client.is_closed() && client.fatal_error().is_none() {
            if let Some(Event::Rebalance { partitions, .. }) = client.poll(Duration::from_millis(100)) {
                // Nothing is held any more: whatever the group asks, the answer is to give it back.
                if let Err(error) = client.unassign(&partitions, client.is_cooperative()) {
                    tracing::debug!(%error, "rebalance of a closing client not answered");
                }
            }
        }
        drop(client);
        UNCLOSED.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("kafka_listener_unclosed_clients").decrement(1.0);
    });
    if let Err(error) = spawned {
        UNCLOSED.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("kafka_listener_unclosed_clients").decrement(1.0);
        tracing::error!(%error, "no thread to close a client on: its group learns of the end by the session timeout");
    }
}
