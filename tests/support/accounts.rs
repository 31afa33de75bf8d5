//! Bookkeeping over a topic and its dead letter topic: *source = handled + dead-lettered + skipped by name*.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::{Kafka, Stored};

/// Partition and offset of a record in the source topic.
pub type Place = (i32, i64);

/// What became of every record of a topic, as plain readers see it.
#[derive(Debug)]
pub struct Accounts {
    source: BTreeSet<Place>,
    handled: BTreeSet<Place>,
    dead: BTreeMap<Place, usize>,
    skipped: BTreeSet<Place>,
}

impl Accounts {
    /// Reads both topics from their beginnings; `handled` is what the handlers wrote down, `skipped` what was skipped by
    /// name.
    ///
    /// # Errors
    ///
    /// A topic cannot be read, or a dead letter names no origin.
    pub async fn of(
        kafka: &Kafka,
        source: &str,
        dead_letters: &str,
        handled: impl IntoIterator<Item = Place>,
        skipped: &[Place],
    ) -> anyhow::Result<Self> {
        let records = kafka.read_topic(source).await?;
        let mut dead = BTreeMap::new();
        for letter in kafka.read_topic(dead_letters).await? {
            let place = origin(&letter).ok_or_else(|| anyhow::anyhow!("no origin in {:?}", letter.headers))?;
            *dead.entry(place).or_default() += 1;
        }
        Ok(Self {
            source: records.iter().map(|record| (record.partition, record.offset)).collect(),
            handled: handled.into_iter().collect(),
            dead,
            skipped: skipped.iter().copied().collect(),
        })
    }

    /// Fails the test unless every record of the source is accounted for exactly once, and nothing else is.
    ///
    /// # Panics
    ///
    /// As said, with the records.
    #[track_caller]
    pub fn assert_complete(&self) {
        assert_eq!(self.missing_or_double(), None);
    }

    fn missing_or_double(&self) -> Option<String> {
        let dead: BTreeSet<Place> = self.dead.keys().copied().collect();
        let mut seen = BTreeMap::<Place, Vec<&str>>::new();
        for (name, places) in [("handled", &self.handled), ("dead-lettered", &dead), ("skipped", &self.skipped)] {
            for place in places {
                seen.entry(*place).or_default().push(name);
            }
        }
        let lost: Vec<_> = self.source.iter().filter(|place| !seen.contains_key(place)).collect();
        let unknown: Vec<_> = seen.keys().filter(|place| !self.source.contains(place)).collect();
        let twice: Vec<_> = seen.iter().filter(|(_, names)| names.len() > 1).collect();
        let adds_up = lost.is_empty() && unknown.is_empty() && twice.is_empty();
        let said = || format!("lost: {lost:?}, not in the source: {unknown:?}, in several accounts: {twice:?}");
        (!adds_up).then(said)
    }

    /// How many records were handled.
    pub fn handled(&self) -> usize {
        self.handled.len()
    }

    /// How many records have a dead letter.
    pub fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    /// How many dead letters there are beyond one per record.
    pub fn repeated(&self) -> usize {
        self.dead.values().map(|times| times - 1).sum()
    }

    /// The records with several dead letters, and how many.
    pub fn repeats(&self) -> BTreeMap<Place, usize> {
        self.dead.iter().filter(|(_, times)| **times > 1).map(|(place, times)| (*place, *times)).collect()
    }
}

/// Where a dead letter says that it came from, in Spring's encodings or as text.
pub fn origin(letter: &Stored) -> Option<Place> {
    let value = |name: &str| letter.headers.iter().find(|(found, _)| found == name)?.1.as_deref();
    if let (Some(partition), Some(offset)) = (value("kafka_dlt-original-partition"), value("kafka_dlt-original-offset"))
    {
        return Some((i32::from_be_bytes(partition.try_into().ok()?), i64::from_be_bytes(offset.try_into().ok()?)));
    }
    let number = |name| str::from_utf8(value(name)?).ok()?.parse::<i64>().ok();
    Some((i32::try_from(number("dlt-original-partition")?).ok()?, number("dlt-original-offset")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(handled: &[Place], dead: &[(Place, usize)], skipped: &[Place]) -> Accounts {
        Accounts {
            source: [(0, 0), (0, 1), (1, 0)].into(),
            handled: handled.iter().copied().collect(),
            dead: dead.iter().copied().collect(),
            skipped: skipped.iter().copied().collect(),
        }
    }

    #[test]
    fn what_adds_up_passes_repeats_included() {
        let accounts = accounts(&[(0, 0)], &[((0, 1), 2)], &[(1, 0)]);
        accounts.assert_complete();
        assert_eq!((accounts.dead_letters(), accounts.repeated()), (1, 1));
    }

    #[test]
    fn a_record_that_is_nowhere_is_lost_and_one_in_two_accounts_is_told() {
        let said = accounts(&[(0, 0)], &[((0, 1), 1)], &[]).missing_or_double().unwrap();
        assert!(said.starts_with("lost: [(1, 0)],"), "{said}");
        let said = accounts(&[(0, 0), (0, 1)], &[((0, 1), 1)], &[(1, 0)]).missing_or_double().unwrap();
        assert!(said.contains("in several accounts: [((0, 1)"), "{said}");
        let said = accounts(&[(0, 0), (9, 9)], &[((0, 1), 1)], &[(1, 0)]).missing_or_double().unwrap();
        assert!(said.contains("not in the source: [(9, 9)]"), "{said}");
    }
}
