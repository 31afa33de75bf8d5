//! Whether a worker may believe that its partition is still its own: the poll loop's pulse, read before each record.
//!
//! After a gap in the loop's turns (a frozen process, a suspended machine) the session may have ended without anybody
//! here noticing. Then nothing starts until the coordinator has confirmed the membership.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Instant;

/// The pulse of one poll loop. Written by the loop, read by the workers of its consumer.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The loop's last turn in nanoseconds; 0 while the membership has to be confirmed.
    trusted_at: AtomicU64,
    /// The loop's last turn, trusted or not: what health looks at.
    ticked_at: AtomicU64,
    /// The longest gap that needs no confirmation: a third of the session.
    longest_gap: Duration,
}

impl Membership {
    pub(crate) fn new(session_timeout: Duration) -> Self {
        let now = Instant::now().as_nanos();
        Self { trusted_at: AtomicU64::new(now), ticked_at: AtomicU64::new(now), longest_gap: session_timeout / 3 }
    }

    /// Ticks. Returns the gap if it was so long that the membership has to be confirmed from now on.
    pub(crate) fn tick(&self, now: Instant) -> Option<Duration> {
        let gap = now.saturating_since(Instant::from_nanos(self.ticked_at.swap(now.as_nanos(), Ordering::AcqRel)));
        if gap > self.longest_gap {
            self.trusted_at.store(0, Ordering::Release);
            return Some(gap);
        }
        if !self.is_in_doubt() {
            self.trusted_at.store(now.as_nanos(), Ordering::Release);
        }
        None
    }

    /// Says that the coordinator has confirmed the membership.
    pub(crate) fn confirm(&self, now: Instant) {
        self.trusted_at.store(now.as_nanos(), Ordering::Release);
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.trusted_at.load(Ordering::Acquire) == 0
    }

    /// Whether a record may start. A worker allows a little more than the loop does, so that whatever stops a worker is
    /// noticed by the loop too, which then asks for the confirmation.
    pub(crate) fn is_trusted(&self, now: Instant) -> bool {
        const LOOP_NOTICES_FIRST: Duration = Duration::from_millis(20);
        let trusted_at = Instant::from_nanos(self.trusted_at.load(Ordering::Acquire));
        now.saturating_since(trusted_at) <= self.longest_gap + LOOP_NOTICES_FIRST
    }

    pub(crate) fn since_tick(&self, now: Instant) -> Duration {
        now.saturating_since(Instant::from_nanos(self.ticked_at.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_starts_between_a_gap_and_its_confirmation() {
        let membership = Membership::new(Duration::from_secs(6));
        let start = Instant::now();
        assert_eq!(membership.tick(start + Duration::from_millis(1900)), None);
        assert!(membership.is_trusted(start + Duration::from_secs(2)));

        let woken = start + Duration::from_secs(10);
        assert!(!membership.is_trusted(woken), "a worker that wakes before the loop sees the old pulse");
        assert!(membership.tick(woken).is_some());
        assert!(!membership.is_trusted(woken));
        assert_eq!(membership.tick(woken + Duration::from_millis(10)), None);
        assert!(!membership.is_trusted(woken + Duration::from_millis(10)), "a tick is no confirmation");

        membership.confirm(woken + Duration::from_millis(20));
        assert!(membership.is_trusted(woken + Duration::from_millis(20)));
    }
}
