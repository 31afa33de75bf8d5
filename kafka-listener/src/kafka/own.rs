//! Partitions without a group: found in the cluster's metadata, given their beginnings, and taken by ourselves.

use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;

use super::ffi::{KafkaError, TopicState};
use super::poll_loop::PollLoop;
use super::start::{BEGINNING, END, Start};
use super::until::Ends;
use crate::clock::Instant;
use crate::config::{AutoOffsetReset, InitialOffset, ListenerSettings, MissingTopics, PartitionSelection, Place};
use crate::container::ConsumerState;
use crate::record::TopicPartition;

/// How long one question may hold up the loop, and how often it is asked again.
const ASK: Duration = Duration::from_millis(500);
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(250);
/// How often a topic or a partition that is not there is asked for.
const MISSING_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// What a loop that is in no group has to do beside reading.
#[derive(Debug)]
pub(super) struct OwnPartitions {
    /// When the cluster is asked next which partitions there are; `None`: all are found.
    look_at: Option<Instant>,
    /// What of it is not there, as it was said last.
    pub(super) missing: Vec<String>,
    /// Topics whose partitions were taken once: a listener that completes takes no more of them.
    found: Vec<String>,
    pub(super) ends: Option<Ends>,
    metadata_interval: Duration,
}

impl OwnPartitions {
    pub(super) fn new(settings: &ListenerSettings, now: Instant) -> Option<Self> {
        let standalone = settings.standalone.as_ref()?;
        let interval = settings
            .client_properties
            .iter()
            .find(|(name, _)| name == "topic.metadata.refresh.interval.ms")
            .and_then(|(_, value)| value.expose_secret().parse().ok());
        Some(Self {
            look_at: Some(now),
            missing: Vec::new(),
            found: Vec::new(),
            ends: standalone.until_end.then(|| Ends::new(standalone.until_timeout.map(|limit| now + limit))),
            metadata_interval: interval.map_or(Duration::from_secs(30), Duration::from_millis),
        })
    }

    /// Whether every partition that was asked for has been taken.
    pub(super) fn has_found_all(&self) -> bool {
        self.look_at.is_none()
    }
}

/// Where one new partition starts, and the end that it has.
type Found = (Start, i64);

impl PollLoop {
    /// Whether finished work is committed, and records that are not may be repeated.
    pub(super) fn commits_offsets(&self) -> bool {
        self.parts.settings.commits()
    }

    /// Takes partitions that are new, and looks after those that are read to their end. Once a turn.
    pub(super) fn serve_own_partitions(&mut self) {
        let Some(own) = &self.own else { return };
        let now = Instant::now();
        if own.look_at.is_some_and(|at| at <= now) {
            let next = match self.look_for_partitions() {
                Ok(next) => next.map(|wait| Instant::now() + wait),
                Err(error) => {
                    self.on_error(&error);
                    Some(Instant::now() + ASK_AGAIN_EVERY)
                }
            };
            if let Some(own) = &mut self.own {
                own.look_at = next;
            }
        }
        self.watch_ends(now);
    }

    /// Asks the cluster and takes what is new. When to look again, if at all.
    fn look_for_partitions(&mut self) -> Result<Option<Duration>, KafkaError> {
        let Some(standalone) = self.parts.settings.standalone.clone() else { return Ok(None) };
        let (mut wanted, mut gone, mut missing, mut grows) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (topic, selection) in &standalone.partitions {
            let is_settled = self.own.as_ref().is_some_and(|own| own.ends.is_some() && own.found.contains(topic));
            if is_settled {
                continue;
            }
            let state = self.client.topic_state(topic, ASK);
            self.tick();
            self.reached_a_broker(state.as_ref().err());
            let count = match state? {
                TopicState::Exists { partitions } => partitions,
                TopicState::Missing => 0,
            };
            if count == 0 {
                missing.push(format!("topic `{topic}`"));
            }
            let partitions: Vec<(i32, Option<InitialOffset>)> = match selection {
                PartitionSelection::All(start) => {
                    grows = true;
                    (0..count).map(|partition| (partition, *start)).collect()
                }
                PartitionSelection::Named(named) => {
                    let absent = named.keys().filter(|partition| count > 0 && **partition >= count);
                    missing.extend(absent.map(|partition| format!("partition `{topic}-{partition}` of {count}")));
                    named.iter().map(|(partition, start)| (*partition, *start)).collect()
                }
            };
            let held = self.partitions.iter().map(|held| held.topic_partition.clone());
            gone.extend(held.filter(|held| held.topic() == &**topic && held.partition() >= count));
            let consumer = (self.parts.consumer.index, self.parts.settings.consumers.max(1));
            for (partition, start) in partitions.into_iter().filter(|(partition, _)| *partition < count) {
                let topic_partition = TopicPartition::new(topic.as_str(), partition);
                let is_ours = usize::try_from(partition).is_ok_and(|partition| partition % consumer.1 == consumer.0);
                let is_held = self.partitions.iter().any(|held| held.topic_partition == topic_partition);
                if is_ours && !is_held {
                    wanted.push((topic_partition, start.unwrap_or(standalone.initial_offset)));
                }
            }
        }
        self.say_what_is_missing(&missing);
        self.give_back(&gone);
        if self.failed {
            return Ok(None);
        }
        self.take(&wanted)?;
        let until_end = standalone.until_end;
        Ok(match (missing.is_empty(), grows && !until_end) {
            (false, _) => Some(MISSING_AGAIN_EVERY),
            // Named partitions may be deleted with their topic, and come back.
            (true, _) if !until_end => self.own.as_ref().map(|own| own.metadata_interval),
            (true, _) => None,
        })
    }

    fn say_what_is_missing(&mut self, missing: &[String]) {
        let Some(own) = &mut self.own else { return };
        if own.missing == missing {
            return;
        }
        own.missing = missing.to_vec();
        if missing.is_empty() {
            return;
        }
        let what = missing.join(", ");
        if self.parts.settings.missing_topics == MissingTopics::Fail {
            self.parts.consumer.update(|state| state.failure_ends_all = true);
            self.fail(format!(
                "missing_topics = \"fail\": the cluster has no {what}; create it, or set missing_topics = \"wait\""
            ));
            return;
        }
        tracing::warn!(listener = %self.parts.listener.id, missing = what, "the cluster has no {what}: waiting for it");
    }

    /// Partitions whose topic was deleted: what runs is cut off, and what is finished has nowhere to be committed.
    fn give_back(&mut self, gone: &[TopicPartition]) {
        if gone.is_empty() {
            return;
        }
        self.lose(gone);
        if let Err(error) = self.client.unassign_own(gone) {
            tracing::debug!(listener = %self.parts.listener.id, %error, "partitions that are gone are not given back");
        }
        self.discard_removed();
        self.publish_assignment();
        self.log_own("deleted", gone);
    }

    /// Gives new partitions their beginnings and begins to read them.
    fn take(&mut self, wanted: &[(TopicPartition, InitialOffset)]) -> Result<(), KafkaError> {
        let found = self.own_starts(wanted, ASK)?;
        let new: Vec<TopicPartition> = wanted.iter().map(|(topic_partition, _)| topic_partition.clone()).collect();
        let (mut starts, ends): (Vec<Start>, Vec<i64>) = found.into_iter().unzip();
        if !new.is_empty() {
            self.hook_starts(&new, &mut starts);
        }
        let mut prepared = Vec::with_capacity(starts.len());
        for (start, end) in starts.into_iter().zip(ends) {
            prepared.push((self.prepare(&start)?, start, end));
        }
        let told = prepared.iter().map(|(_, start, _)| (&start.topic_partition, start.told.unwrap_or(BEGINNING)));
        self.client.assign_own(told)?;
        for (partition, start, end) in prepared {
            if let Some(ends) = self.own.as_mut().and_then(|own| own.ends.as_mut()) {
                ends.add(start.topic_partition.clone(), start.offset, end);
            }
            self.take_over(partition, &start);
        }
        if let Some(own) = &mut self.own {
            let topics = self.parts.settings.topics.iter();
            let is_there = |topic: &&String| !own.missing.iter().any(|missing| missing.contains(&format!("`{topic}")));
            own.found = topics.filter(is_there).cloned().collect();
        }
        self.publish_assignment();
        let is_complete = self.own.as_ref().is_some_and(|own| own.missing.is_empty());
        if is_complete || !self.partitions.is_empty() {
            self.parts.consumer.update(ConsumerState::join);
        }
        if !new.is_empty() {
            self.log_own("taken", &new);
        }
        Ok(())
    }

    /// Where partitions begin, and where they end now.
    fn own_starts(
        &mut self,
        wanted: &[(TopicPartition, InitialOffset)],
        wait: Duration,
    ) -> Result<Vec<Found>, KafkaError> {
        let committed = self.own_committed(wanted, wait)?;
        let mut found = Vec::with_capacity(wanted.len());
        for ((topic_partition, initial), committed) in wanted.iter().zip(committed) {
            let (low, end) = self.client.query_ends(topic_partition, wait)?;
            self.tick();
            let from = |place: i64, by: i64| place.saturating_add(by).clamp(low, end.max(low));
            let offset = match (*initial, committed) {
                (InitialOffset::From(Place::Beginning, by), _) => Some(from(low, by)),
                (InitialOffset::From(Place::End, by), _) => Some(from(end, by)),
                (InitialOffset::From(Place::Committed, 0), Some(committed)) => Some(committed),
                (InitialOffset::From(Place::Committed, by), Some(committed)) => Some(from(committed, by)),
                (InitialOffset::From(Place::Committed, _), None) => self.own_reset(topic_partition, low, end, wait)?,
                (InitialOffset::At(offset), _) => Some(offset),
                (InitialOffset::Timestamp(millis), _) => Some(self.first_since(topic_partition, millis, end, wait)?),
                (InitialOffset::Ago(ago), _) => Some(self.first_since(topic_partition, millis_ago(ago), end, wait)?),
            };
            let is_whole_log = *initial == InitialOffset::From(Place::Beginning, 0);
            let told = match offset {
                // Retention may take the first records between now and then.
                Some(_) if is_whole_log => Some(BEGINNING),
                offset => offset,
            };
            let topic_partition = topic_partition.clone();
            // What the first record is, retention may still change.
            let offset = offset.filter(|offset| !is_whole_log || *offset == end);
            found.push((Start { topic_partition, committed, offset, told }, end));
        }
        Ok(found)
    }

    /// Where nothing is committed: `auto_offset_reset`. `None` once that has failed the listener.
    fn own_reset(
        &mut self,
        topic_partition: &TopicPartition,
        low: i64,
        end: i64,
        wait: Duration,
    ) -> Result<Option<i64>, KafkaError> {
        Ok(match self.parts.settings.auto_offset_reset {
            AutoOffsetReset::Earliest => Some(low),
            AutoOffsetReset::Latest => Some(end),
            AutoOffsetReset::ByDuration(ago) => Some(self.first_since(topic_partition, millis_ago(ago), end, wait)?),
            AutoOffsetReset::Error => {
                self.fail(format!(
                    "auto_offset_reset = \"error\": nothing is committed for `{topic_partition}` under group `{}`",
                    self.parts.listener.group_id
                ));
                None
            }
        })
    }

    fn own_committed(
        &mut self,
        wanted: &[(TopicPartition, InitialOffset)],
        wait: Duration,
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        let needs = self.commits_offsets() || wanted.iter().any(|(_, initial)| initial.needs_committed());
        if !needs || wanted.is_empty() {
            return Ok(vec![None; wanted.len()]);
        }
        let names: Vec<TopicPartition> = wanted.iter().map(|(topic_partition, _)| topic_partition.clone()).collect();
        let answers = self.client.committed(&names, wait);
        self.tick();
        let answers = answers?;
        let answer = |name: &TopicPartition| {
            let one = answers.iter().find(|one| one.topic_partition == *name);
            match one {
                Some(one) => one.error.map_or(Ok(one.offset), |code| Err(KafkaError::of(code))),
                None => Ok(None),
            }
        };
        names.iter().map(answer).collect()
    }

    fn first_since(
        &self,
        topic_partition: &TopicPartition,
        millis: i64,
        end: i64,
        wait: Duration,
    ) -> Result<i64, KafkaError> {
        let found = self.client.offsets_for_times(std::slice::from_ref(topic_partition), millis, wait)?;
        match found.first() {
            Some(one) if one.error.is_some() => Err(KafkaError::of(one.error.unwrap_or_default())),
            Some(one) => Ok(one.offset.unwrap_or(end)),
            None => Ok(end),
        }
    }

    /// Where a partition is begun once more whose position was lost before anything of it was read.
    pub(super) fn own_start_again(&mut self, topic_partition: &TopicPartition, wait: Duration) -> Option<i64> {
        let standalone = self.parts.settings.standalone.as_ref()?;
        let of_topic = standalone.partitions.iter().find(|(topic, _)| **topic == *topic_partition.topic());
        let own = match of_topic.map(|(_, selection)| selection) {
            Some(PartitionSelection::All(start)) => *start,
            Some(PartitionSelection::Named(named)) => named.get(&topic_partition.partition()).copied().flatten(),
            None => None,
        };
        let initial = own.unwrap_or(standalone.initial_offset);
        let found = self.own_starts(&[(topic_partition.clone(), initial)], wait).ok()?.pop()?;
        found.0.told.or(Some(END))
    }

    fn log_own(&self, kind: &'static str, partitions: &[TopicPartition]) {
        let listener = &self.parts.listener;
        tracing::info!(
            listener = %listener.id,
            consumer = self.parts.consumer.index,
            kind,
            partitions = %super::assign::names(partitions.iter()),
            "without a group: {kind} {}; this consumer now reads {}",
            super::assign::count(partitions.len()),
            super::assign::count(self.partitions.len()),
        );
    }
}

fn millis_ago(ago: Duration) -> i64 {
    let since = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    let since_epoch = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
