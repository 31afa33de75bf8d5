//! From what members handled and when, how long partitions stood still, what was repeated and what was lost.

use std::collections::BTreeMap;

use crate::member::Handled;
use crate::statistics::{quantile, to_f64};

/// What happens to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Join,
    Leave,
    /// SIGKILL.
    Crash,
    /// One is stopped and another one started at once.
    Replaced,
}

impl Event {
    pub(super) const ALL: [Self; 4] = [Self::Join, Self::Leave, Self::Crash, Self::Replaced];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Crash => "crash",
            Self::Replaced => "rolling restart",
        }
    }
}

/// Milliseconds of the longest stand-still of each partition.
#[derive(Debug, PartialEq)]
pub(super) struct Still {
    /// Partitions with another owner afterwards.
    pub(super) moved: Longest,
    /// Partitions with the same owner afterwards.
    pub(super) stays: Longest,
}

/// Over partitions; 0 where there is none.
#[derive(Debug, PartialEq)]
pub(super) struct Longest {
    pub(super) p50: f64,
    pub(super) max: f64,
}

impl Longest {
    fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let millis = |share| to_f64(quantile(&nanos, share)) / 1e6;
        Self { p50: millis(0.5), max: millis(1.0) }
    }
}

/// `traces` is one per member; the window is in nanoseconds of the members' clock.
pub(super) fn stand_still(traces: &[Vec<Handled>], from: u64, until: u64) -> Still {
    let (mut moved, mut stays) = (Vec::new(), Vec::new());
    for records in by_partition(traces).into_values() {
        let first = records.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        let window: Vec<(u64, usize)> = records[first..].iter().take_while(|(at, _)| *at <= until).copied().collect();
        let longest = window.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
        // The last one may be followed by nothing within the window.
        let Some((last, owner)) = window.last() else { continue };
        let longest = longest.unwrap_or(0).max(until.saturating_sub(*last));
        if window[0].1 == *owner { stays.push(longest) } else { moved.push(longest) }
    }
    Still { moved: Longest::of(moved), stays: Longest::of(stays) }
}

/// When what was handled, and by which member, in order of time.
fn by_partition(traces: &[Vec<Handled>]) -> BTreeMap<i32, Vec<(u64, usize)>> {
    let mut partitions: BTreeMap<i32, Vec<(u64, usize)>> = BTreeMap::new();
    for (member, trace) in traces.iter().enumerate() {
        for record in trace {
            partitions.entry(record.partition).or_default().push((record.at, member));
        }
    }
    for records in partitions.values_mut() {
        records.sort_unstable();
    }
    partitions
}

/// What was handled more than once, and never.
#[derive(Debug)]
pub(super) struct Accounts {
    /// When records were handled again.
    again: Vec<u64>,
    pub(super) lost: f64,
}

impl Accounts {
    pub(super) fn repeated(&self, from: u64, until: u64) -> f64 {
        to_f64(self.again.iter().filter(|at| (from..=until).contains(at)).map(|_| 1).sum())
    }
}

/// `produced` records were produced to each partition.
pub(super) fn accounts(traces: &[Vec<Handled>], partitions: i32, produced: u64) -> Accounts {
    let mut times: BTreeMap<(i32, u64), Vec<u64>> = BTreeMap::new();
    for record in traces.iter().flatten() {
        times.entry((record.partition, record.number)).or_default().push(record.at);
    }
    let distinct = u64::try_from(times.len()).unwrap_or(u64::MAX);
    let mut again = Vec::new();
    for mut at in times.into_values() {
        at.sort_unstable();
        again.extend(at.into_iter().skip(1));
    }
    let lost = (u64::from(partitions.unsigned_abs()) * produced).saturating_sub(distinct);
    Accounts { again, lost: to_f64(lost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn trace(records: &[(i32, u64, u64)]) -> Vec<Handled> {
        records
            .iter()
            .map(|(partition, number, millis)| Handled { partition: *partition, number: *number, at: millis * MS })
            .collect()
    }

    #[test]
    fn a_gap_counts_for_who_has_the_partition_afterwards() {
        let traces = [
            trace(&[(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 5), (1, 2, 12), (1, 3, 20)]),
            trace(&[(0, 2, 13), (0, 3, 20)]),
        ];
        let still = stand_still(&traces, 2 * MS, 20 * MS);
        assert_eq!(still.moved, Longest { p50: 11.0, max: 11.0 });
        assert_eq!(still.stays, Longest { p50: 8.0, max: 8.0 });
    }

    #[test]
    fn a_partition_that_nobody_takes_stands_still_to_the_end() {
        let still = stand_still(&[trace(&[(0, 0, 1), (0, 1, 2)])], MS, 50 * MS);
        assert_eq!(still.stays, Longest { p50: 48.0, max: 48.0 });
        assert_eq!(still.moved, Longest { p50: 0.0, max: 0.0 });
    }

    #[test]
    fn accounts_name_what_was_repeated_and_when_and_what_was_lost() {
        let traces = [trace(&[(0, 0, 1), (0, 1, 2)]), trace(&[(0, 1, 9), (1, 0, 3)])];
        let accounts = accounts(&traces, 2, 2);
        assert_eq!(accounts.lost.to_bits(), 1_f64.to_bits());
        assert_eq!(accounts.repeated(0, 5 * MS).to_bits(), 0_f64.to_bits());
        assert_eq!(accounts.repeated(5 * MS, 10 * MS).to_bits(), 1_f64.to_bits());
    }
}
