//! Chance that a seed reproduces.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The splitmix64 generator: small, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in the range.
    pub(crate) fn throw(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    /// A duration between two numbers of milliseconds.
    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.throw(range))
    }

    /// One of the items, each as likely as its weight says; `None` when there is nothing to choose from.
    pub(crate) fn choose<T: Copy>(&mut self, weighted: &[(T, u64)]) -> Option<T> {
        let total: u64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mut left = self.throw(1..=total.max(1));
        for (item, weight) in weighted {
            if left <= *weight {
                return Some(*item);
            }
            left -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_throws_and_weights_count() {
        let throws = |seed| (0..20).map(|_| Dice::new(seed).throw(0..=1_000)).collect::<Vec<_>>();
        assert_eq!(throws(7), throws(7));

        let mut dice = Dice::new(7);
        let often = (0..10_000).filter(|_| dice.choose(&[('a', 9), ('b', 1)]) == Some('a')).count();
        assert!((8_800..9_200).contains(&often), "{often}");
        assert_eq!(dice.choose::<char>(&[]), None);
    }
}
