//! One owner per partition in this process: a worker starts only when the code of the previous one has really ended,
//! also when that belonged to another consumer or to a container that was restarted since.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::record::TopicPartition;

/// Whose partition: two groups may work on one partition at the same time, two workers of one group may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnerKey {
    pub(crate) cluster: Arc<str>,
    pub(crate) group_id: Arc<str>,
    pub(crate) topic_partition: TopicPartition,
}

/// One permit per key. Written by workers that start, cleaned when the last lease of a key ends; a std mutex because it
/// is never held across an await.
static SEATS: LazyLock<Mutex<HashMap<OwnerKey, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);

/// The right to run handlers for one partition. Shared by a worker and by blocking code it started.
#[derive(Debug)]
pub(crate) struct PartitionLease {
    key: OwnerKey,
    seat: Arc<Semaphore>,
}

impl PartitionLease {
    /// Waits until nobody else in this process works on the partition.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the line and nothing else.
    pub(crate) async fn acquire(key: OwnerKey) -> Arc<Self> {
        let seat = {
            let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
            let seat = seats.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Semaphore::new(1)));
            seats.insert(key.clone(), Arc::downgrade(&seat));
            seat
        };
        // The semaphore is never closed; without a permit nobody would be waited for, which is the safe reading of it.
        if let Ok(permit) = seat.acquire().await {
            SemaphorePermit::forget(permit);
        }
        Arc::new(Self { key, seat })
    }
}

impl Drop for PartitionLease {
    fn drop(&mut self) {
        self.seat.add_permits(1);
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        // This lease holds one strong reference; whoever waits holds another.
        if Arc::strong_count(&self.seat) == 1 {
            seats.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(partition: i32) -> OwnerKey {
        OwnerKey {
            cluster: "ownership-tests".into(),
            group_id: "group".into(),
            topic_partition: TopicPartition::new("orders", partition),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn second_owner_waits_until_every_clone_of_the_first_lease_is_gone() {
        let first = PartitionLease::acquire(key(0)).await;
        let left_running = Arc::clone(&first);
        let second = tokio::spawn(PartitionLease::acquire(key(0)));
        drop(first);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished());
        drop(left_running);
        tokio::time::timeout(Duration::from_secs(1), second).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn other_partitions_and_ended_leases_leave_no_trace() {
        let _zero = PartitionLease::acquire(key(1)).await;
        let one = PartitionLease::acquire(key(2)).await;
        drop(one);
        let seats = SEATS.lock().unwrap();
        assert!(seats.contains_key(&key(1)));
        assert!(!seats.contains_key(&key(2)));
    }
}
