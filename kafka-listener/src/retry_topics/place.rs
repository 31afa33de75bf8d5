//! Where a record stands on its way through the retry topics, and how long it has to wait there. Pure.

use std::time::Duration;

use super::headers::Waiting;

/// What one retry topic is on the way of the records that lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    source: String,
    /// From 1. More than one where stages that wait equally long share the topic.
    stages: Vec<u32>,
}

impl Place {
    /// `stages` is not empty.
    pub(super) fn new(source: String, stages: Vec<u32>) -> Self {
        Self { source, stages }
    }

    /// The listener's own topic that the records came from.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The stage that a record is at. Its headers tell where stages share a topic; they are not believed where they
    /// contradict the topic, as those of a record that was put there by hand.
    pub(crate) fn stage(&self, waiting: &Waiting<'_>) -> u32 {
        let told = waiting.attempts.and_then(|attempts| attempts.checked_sub(1));
        told.filter(|stage| self.stages.contains(stage)).unwrap_or_else(|| self.stages.first().copied().unwrap_or(1))
    }
}

/// How long a record still has to wait: until the time in its header, which counts in milliseconds since 1970 as `now`
/// does, but no longer than `delay` from when it was first seen here: then it has waited for as long, whatever became
/// of the clocks.
pub(crate) fn left_to_wait(due: Option<i64>, now: i64, seen_for: Duration, delay: Duration) -> Duration {
    let by_clock = due.map_or(0, |due| due.saturating_sub(now));
    let by_clock = Duration::from_millis(u64::try_from(by_clock).unwrap_or(0));
    by_clock.min(delay.saturating_sub(seen_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_stage_is_told_by_its_topic_and_among_several_by_its_attempts() {
        let place = |stages: &[u32]| Place::new("orders".to_owned(), stages.to_vec());
        let waiting = |attempts| Waiting { attempts, ..Waiting::default() };
        for (stages, attempts, stage) in [
            (&[2_u32][..], Some(3), 2),
            (&[2], Some(9), 2),
            (&[2], None, 2),
            (&[2], Some(0), 2),
            (&[1, 2, 3], Some(2), 1),
            (&[1, 2, 3], Some(4), 3),
            (&[1, 2, 3], Some(5), 1),
            (&[1, 2, 3], None, 1),
        ] {
            assert_eq!(place(stages).stage(&waiting(attempts)), stage, "{stages:?} {attempts:?}");
        }
    }

    #[test]
    fn a_record_waits_until_it_is_due_and_never_longer_than_the_delay() {
        let seconds = Duration::from_secs;
        for (due, now, seen_for, left) in [
            (Some(10_000), 4_000, 0, 6),
            (Some(10_000), 10_000, 0, 0),
            (Some(10_000), 11_000, 0, 0),
            (None, 4_000, 0, 0),
            // The clock was set back by an hour: the delay counts from when the record was seen.
            (Some(3_610_000), 1_000, 0, 10),
            (Some(3_610_000), 5_000, 4, 6),
            (Some(3_610_000), 5_000, 11, 0),
            (Some(i64::MAX), i64::MIN, 0, 10),
            (Some(i64::MIN), i64::MAX, 0, 0),
        ] {
            let left_now = left_to_wait(due, now, seconds(seen_for), seconds(10));
            assert_eq!(left_now, seconds(left), "{due:?} {now} {seen_for}");
        }
    }
}
