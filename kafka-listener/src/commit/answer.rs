//! What the answer to a commit changes.
//!
//! librdkafka 2.12 tells a commit that failed for one partition as one that failed for all of the request, those that
//! are stored included. So a refusal that several partitions share is nobody's yet: each is sent again at once in a
//! request of its own, one after the other, and the answer to that counts.

use std::time::Duration;

use super::partition::{Entry, Outstanding, Partition, Refusal, Refusals, earlier};
use super::verdict::{Verdict, may_arrive_later, may_have_been_applied};
use super::{CommitAnswer, CommitCoordinator, CommitEvent, Membership, Serial, code};
use crate::clock::Instant;
use crate::record::TopicPartition;

/// The first retry after a retriable error, doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The same for a partition that the broker refuses.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// librdkafka sends a request that got no answer again by itself, on another connection, and says nothing of it. An answer
/// that took at least this long may be that to a second copy.
const MAY_BE_SENT_TWICE: Duration = Duration::from_secs(1);
/// How often the newest offset is committed anew while an older copy may be under way.
const COMMIT_ANEW: Duration = Duration::from_secs(5);

/// One partition's share of an answer.
struct Answer {
    serial: Serial,
    is_final: bool,
    code: i32,
    /// Other partitions of the request got the same code, and none was accepted.
    is_shared: bool,
    generation_is_over: bool,
    sent_at: Instant,
    now: Instant,
}

impl Answer {
    /// Whether the broker may have stored the offset although the answer is an error.
    fn leaves_in_doubt(&self) -> bool {
        may_have_been_applied(self.code) || (self.is_shared && Verdict::of(self.code) == Verdict::Failed)
    }

    /// Whether a copy of the request may reach the broker after this answer.
    fn leaves_a_copy_under_way(&self) -> bool {
        may_arrive_later(self.code) || self.now.saturating_since(self.sent_at) >= MAY_BE_SENT_TWICE
    }

    fn refusal(&self) -> Refusal {
        Refusal { code: self.code, at: self.now, of_final: self.is_final, is_shared: self.is_shared }
    }
}

impl CommitCoordinator {
    /// Takes the answer to a request. An unknown serial, or one answered before, changes nothing.
    pub(crate) fn answered(&mut self, serial: Serial, now: Instant, answer: &CommitAnswer) -> Vec<CommitEvent> {
        let Some(index) = self.outstanding.iter().position(|request| request.serial == serial) else {
            return Vec::new();
        };
        let Outstanding { is_final, sent_at, entries, .. } = self.outstanding.swap_remove(index);
        let codes: Vec<i32> = entries.iter().map(|entry| code_of(answer, &entry.topic_partition)).collect();
        let generation_is_over = self.is_generation_over(&codes, sent_at, now) && !is_final;
        let confirmed = codes.contains(&code::NO_ERROR);
        let mut events = Vec::with_capacity(entries.len());
        for (entry, &code) in entries.into_iter().zip(&codes) {
            let is_shared = !confirmed && codes.iter().filter(|other| **other == code).count() > 1;
            let answer = Answer { serial, is_final, code, is_shared, generation_is_over, sent_at, now };
            events.push(self.settle(entry, &answer));
        }
        let lost = events.iter().find_map(|event| match event {
            CommitEvent::Lost { code, .. } => Some(*code),
            _ => None,
        });
        if let Some(code) = lost {
            self.fence_all(code, &mut events);
        }
        if let Membership::Doubted { since, refused, not_before } = &mut self.membership
            && serial > *since
        {
            if confirmed {
                self.membership = Membership::Confirmed;
                events.push(CommitEvent::MembershipConfirmed);
            } else {
                *not_before = Some(now + doubled(RETRY_FIRST, RETRY_MAX, *refused));
                *refused = refused.saturating_add(1);
            }
        }
        events
    }

    fn settle(&mut self, entry: Entry, answer: &Answer) -> CommitEvent {
        let Some(partition) = self.partitions.get_mut(&entry.topic_partition) else {
            return CommitEvent::Ignored { topic_partition: entry.topic_partition, epoch: entry.epoch };
        };
        partition.recount_sent(&entry.topic_partition, &self.outstanding);
        if answer.is_final {
            // Behind it comes the end of the membership or of the generation.
            partition.commit_anew_at = None;
        } else if partition.commit_anew_at.is_some() || answer.leaves_a_copy_under_way() {
            partition.commit_anew_at = Some(answer.now + COMMIT_ANEW);
            self.anew_at = earlier(self.anew_at, partition.commit_anew_at);
        }
        let event = if partition.epoch != entry.epoch || answer.serial < partition.acknowledged_by {
            partition.take_outdated(entry, answer)
        } else {
            partition.take(entry, answer)
        };
        self.any_asked |= partition.asked_since.is_some();
        event
    }

    /// It is the member that is out of the group, whichever of its partitions the request was about.
    fn fence_all(&mut self, code: i32, events: &mut Vec<CommitEvent>) {
        for (topic_partition, partition) in self.partitions.iter_mut().filter(|(_, partition)| !partition.fenced) {
            partition.fence();
            events.push(CommitEvent::Lost { topic_partition: topic_partition.clone(), epoch: partition.epoch, code });
        }
    }

    /// Whether `ILLEGAL_GENERATION` means the end of the membership. Any other code tells that it goes on.
    fn is_generation_over(&mut self, codes: &[i32], sent_at: Instant, now: Instant) -> bool {
        if !codes.contains(&code::ILLEGAL_GENERATION) {
            self.generation_over_since = None;
            return false;
        }
        let since = self.generation_over_since.get_or_insert(now);
        let is_over = !self.rebalancing && sent_at.saturating_since(*since) >= self.policy.generation_grace;
        // The time that an answer takes does not count: it may wait behind a join for as long as the slowest member takes.
        *since = now.min(*since + now.saturating_since(sent_at));
        is_over
    }
}

impl Partition {
    fn take(&mut self, entry: Entry, answer: &Answer) -> CommitEvent {
        let Entry { topic_partition, epoch, offset, asked_since } = entry;
        let code = answer.code;
        let verdict = match Verdict::of(code) {
            Verdict::GenerationOver if answer.generation_is_over => Verdict::Fenced,
            verdict => verdict,
        };
        if verdict == Verdict::Committed {
            self.acknowledged = Some(offset);
            self.acknowledged_by = answer.serial;
            self.refusals = Refusals::default();
            self.uncertain = false;
            let round_trip = answer.now.saturating_since(answer.sent_at);
            return CommitEvent::Committed { topic_partition, offset, round_trip };
        }
        self.uncertain |= answer.leaves_in_doubt();
        self.asked_since = earlier(self.asked_since, asked_since);
        match verdict {
            Verdict::Fenced => {
                self.refuse(answer, RETRY_FIRST, RETRY_MAX);
                self.fence();
                CommitEvent::Lost { topic_partition, epoch, code }
            }
            Verdict::Failed if answer.is_shared => {
                // Not counted: it may be another partition's.
                self.refusals.not_before = Some(answer.now);
                self.refusals.last = Some(answer.refusal());
                CommitEvent::Retrying { topic_partition, offset, code }
            }
            Verdict::Failed => {
                self.refuse(answer, REFUSED_FIRST, REFUSED_MAX);
                CommitEvent::Failed { topic_partition, offset, code, failures: self.refusals.count }
            }
            _ => {
                self.refuse(answer, RETRY_FIRST, RETRY_MAX);
                CommitEvent::Retrying { topic_partition, offset, code }
            }
        }
    }

    /// The answer to a request that a newer one, or a newer epoch, has overtaken: the broker may have stored it last.
    fn take_outdated(&mut self, entry: Entry, answer: &Answer) -> CommitEvent {
        let Entry { topic_partition, epoch, offset, asked_since } = entry;
        let same_epoch = self.epoch == epoch;
        let harmless = !answer.leaves_in_doubt() || self.acknowledged == Some(offset);
        if harmless || self.fenced {
            return CommitEvent::Ignored { topic_partition, epoch };
        }
        // In another epoch the offset may belong to another log: nothing is known of what the broker holds.
        self.acknowledged = if same_epoch { self.acknowledged.min(Some(offset)) } else { None };
        if self.has_news() {
            self.asked_since = earlier(self.asked_since, asked_since.or(Some(answer.now)));
        }
        CommitEvent::Overtaken { topic_partition, offset }
    }

    fn fence(&mut self) {
        self.fenced = true;
        self.asked_since = None;
    }

    fn refuse(&mut self, answer: &Answer, first: Duration, max: Duration) {
        let refusals = &mut self.refusals;
        let delay = doubled(first, max, refusals.count);
        refusals.count = refusals.count.saturating_add(1);
        refusals.not_before = Some(answer.now + delay);
        refusals.last = Some(answer.refusal());
    }

    /// What is still out there after a request of this partition was answered.
    fn recount_sent(&mut self, topic_partition: &TopicPartition, outstanding: &[Outstanding]) {
        (self.sent, self.sent_since) = (None, None);
        for entry in outstanding.iter().flat_map(|request| &request.entries) {
            if entry.topic_partition == *topic_partition && entry.epoch == self.epoch {
                self.sent = self.sent.max(Some(entry.offset));
                self.sent_since = earlier(self.sent_since, entry.asked_since);
            }
        }
    }
}

/// A partition that the answer leaves out is in doubt, not committed.
fn code_of(answer: &CommitAnswer, topic_partition: &TopicPartition) -> i32 {
    match answer {
        Err(code) => *code,
        Ok(codes) => codes.iter().find(|(of, _)| of == topic_partition).map_or(code::LOCAL_INTR, |(_, code)| *code),
    }
}

fn doubled(first: Duration, max: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(max)
}
