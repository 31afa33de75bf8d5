//! Best, median and spread of a few runs, and quantiles of many latencies.

/// Which end of a row of figures is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A row of figures in three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) best: f64,
    pub(crate) median: f64,
    /// Largest minus smallest, as a share of the median.
    pub(crate) spread: f64,
}

impl Summary {
    /// `None` for an empty row.
    pub(crate) fn of(figures: &[f64], better: Better) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let best = if better == Better::Higher { most } else { least };
        Some(Self { best, median, spread: if median == 0.0 { 0.0 } else { (most - least) / median } })
    }
}

/// The smallest value that at least `share` of `sorted` does not exceed; 0 where there is none.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of latencies are far below 2^52, and a share is within 0 and 1"
    )]
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of one run are far below 2^52")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(figures: &[f64], better: Better, (best, median, spread): (f64, f64, f64)) {
        assert_eq!(Summary::of(figures, better), Some(Summary { best, median, spread }));
    }

    #[test]
    fn summaries_do_not_depend_on_the_order_of_runs() {
        check(&[3.0, 1.0, 2.0], Better::Higher, (3.0, 2.0, 1.0));
        check(&[3.0, 1.0, 2.0], Better::Lower, (1.0, 2.0, 1.0));
        check(&[4.0, 1.0, 2.0, 3.0], Better::Higher, (4.0, 2.5, 1.2));
        check(&[5.0], Better::Lower, (5.0, 5.0, 0.0));
        assert_eq!(Summary::of(&[], Better::Higher), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&hundred, 0.5), 50);
        assert_eq!(quantile(&hundred, 0.99), 99);
        assert_eq!(quantile(&hundred, 0.999), 100);
        assert_eq!(quantile(&[7], 0.5), 7);
        assert_eq!(quantile(&[], 0.5), 0);
    }
}
