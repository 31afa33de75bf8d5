//! The commit of a revoke or a close: bounded, for exactly the partitions that leave.
//!
//! The caller repeats [`CommitCoordinator::final_step`] until it is done, and serves answers in between. Nothing is
//! remembered about the set of partitions, so a revoke may run in the middle of a close.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::partition::{Entry, Partition};
use super::verdict::Verdict;
use super::{CommitCoordinator, CommitRequest, by_refusal, next_refused, watermark};
use crate::clock::Instant;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

/// How long after a refusal the final commit is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(20);

/// What became of a partition's finished work when the partition was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommitOutcome {
    /// The broker has acknowledged all of it.
    Committed,
    /// Sent, and not answered in time or not answered for certain: it may be committed or not.
    Unknown,
    /// The member was out of the group already: whoever owns the partition now repeats what was not committed.
    Fenced,
    /// The broker refused it until the time was up: it is repeated.
    Failed,
}

impl fmt::Display for CommitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Committed => "committed",
            Self::Unknown => "unknown",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        })
    }
}

/// What to do next for a final commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FinalStep {
    /// Send this, then ask again.
    Send(CommitRequest),
    /// Serve answers until one comes or this moment has come, then ask again.
    WaitUntil(Instant),
    /// Nothing is left to do or there is no time for it.
    Done(Vec<FinalOutcome>),
}

/// The end of one partition's commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinalOutcome {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) outcome: CommitOutcome,
    /// What should be committed; `None`: nothing was done in this epoch.
    pub(crate) watermark: Option<CommitOffset>,
    /// What the broker holds for certain.
    pub(crate) acknowledged: Option<CommitOffset>,
    /// The last error code, 0 where there was none.
    pub(crate) code: i32,
}

/// How far one partition is.
enum Progress {
    Settled(CommitOutcome),
    /// Waits for an answer.
    Sent,
    SendNow,
    /// Was refused, and may be sent again at this moment.
    SendAgain(Instant),
}

impl CommitCoordinator {
    /// The next step of the final commit of `partitions`, which ends at `deadline` whatever happens. Partitions that
    /// are not assigned are left out. What was never tried is sent once even when the deadline has passed already.
    pub(crate) fn final_step(&mut self, partitions: &[TopicPartition], deadline: Instant, now: Instant) -> FinalStep {
        // The partitions that stay wait as well: their delay counts from now, not from the end of the revoke.
        self.ask(now);
        let final_is_out = self.outstanding.iter().any(|request| request.is_final);
        let mut to_send = Vec::new();
        let mut wait_until: Option<Instant> = None;
        for key in partitions {
            let Some(partition) = self.partitions.get(key) else { continue };
            let wake = match self.progress_of(key, partition) {
                Progress::Settled(_) => continue,
                // A final request that is out there must be answered before the next one.
                Progress::Sent => deadline,
                Progress::SendNow if final_is_out => deadline,
                Progress::SendNow => {
                    to_send.push((key, partition));
                    continue;
                }
                Progress::SendAgain(at) if at <= now && now < deadline && !final_is_out => {
                    to_send.push((key, partition));
                    continue;
                }
                Progress::SendAgain(_) if final_is_out => deadline,
                Progress::SendAgain(at) => at.min(deadline),
            };
            wait_until = Some(wait_until.map_or(wake, |until| until.min(wake)));
        }
        // Those that share a request are the many: they go first, in case there is no time for more.
        let (refused, others) = by_refusal(to_send.into_iter());
        let to_send = if others.is_empty() { next_refused(refused) } else { others };
        let offsets = to_send.into_iter().filter_map(watermark).collect();
        if let Some(request) = self.send(offsets, true, now) {
            return FinalStep::Send(request);
        }
        match wait_until {
            Some(until) if now < deadline => FinalStep::WaitUntil(until),
            _ => FinalStep::Done(self.final_outcomes(partitions)),
        }
    }

    fn progress_of(&self, key: &TopicPartition, partition: &Partition) -> Progress {
        if partition.fenced {
            return Progress::Settled(CommitOutcome::Fenced);
        }
        if !partition.is_behind() {
            // A request that is still out there may yet overwrite what was acknowledged.
            let mut entries = self.outstanding.iter().flat_map(|request| &request.entries);
            let older = |entry: &Entry| entry.topic_partition == *key && Some(entry.offset) != partition.acknowledged;
            let overtaken = partition.watermark.is_some() && entries.any(older);
            let is_anew = partition.commit_anew_at.is_some() && partition.watermark.is_some();
            return if overtaken || is_anew && partition.sent.is_some() {
                Progress::Sent
            } else if is_anew {
                Progress::SendNow
            } else {
                Progress::Settled(CommitOutcome::Committed)
            };
        }
        if partition.sent >= partition.watermark {
            return Progress::Sent;
        }
        match partition.refusals.last {
            Some(refusal) if refusal.of_final && Verdict::of(refusal.code) == Verdict::Failed => {
                if refusal.is_shared {
                    Progress::SendAgain(refusal.at)
                } else {
                    Progress::Settled(CommitOutcome::Failed)
                }
            }
            Some(refusal) if refusal.of_final => Progress::SendAgain(refusal.at + RESEND_AFTER),
            _ => Progress::SendNow,
        }
    }

    fn final_outcomes(&self, partitions: &[TopicPartition]) -> Vec<FinalOutcome> {
        let outcome = |key: &TopicPartition| {
            let partition = self.partitions.get(key)?;
            let outcome = match self.progress_of(key, partition) {
                Progress::Settled(outcome) => outcome,
                Progress::Sent => CommitOutcome::Unknown,
                _ if !partition.is_behind() => CommitOutcome::Committed,
                _ if partition.uncertain => CommitOutcome::Unknown,
                Progress::SendNow | Progress::SendAgain(_) => CommitOutcome::Failed,
            };
            Some(FinalOutcome {
                topic_partition: key.clone(),
                outcome,
                watermark: partition.watermark,
                acknowledged: self.acknowledged(key),
                code: partition.last_code(),
            })
        };
        partitions.iter().filter_map(outcome).collect()
    }
}
