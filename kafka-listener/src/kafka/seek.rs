//! Seeks and replays carried out: questions to the broker, the steps of each, and the new epoch at its target.
//!
//! A seek lives in its partition. It goes with it, and whoever waits for it is told by that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::ffi::{OffsetOf, OffsetsAnswer, Ready};
use super::poll_loop::PollLoop;
use crate::clock::Instant;
use crate::container::Step;
use crate::offset_tracker::CommitOffset;
use crate::phase::Interrupt;
use crate::record::RecordBatch;
use crate::seek::{Action, Beginning, Bounds, Facts, Goal, Limits, Replay, Seek, SeekOutcome};

/// How long the broker may take to say where a target is.
pub(crate) const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// How long one question may take, and how long after one that failed it is asked again.
const ASK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct SeekCommand {
    /// The assignment that the caller saw: its queue's mark, which no other assignment of the partition shares.
    pub(crate) assignment: Arc<Ready>,
    pub(crate) goal: Goal,
    /// Dropped without an answer where the partition has gone.
    pub(crate) answer: oneshot::Sender<SeekOutcome>,
}

/// A seek under way.
#[derive(Debug)]
pub(super) struct PendingSeek {
    seek: Seek,
    /// Nobody waits for the end of a replay.
    answer: Option<oneshot::Sender<SeekOutcome>>,
    questions: Vec<Question>,
}

/// One thing that the broker has to say.
#[derive(Clone, Copy, Debug)]
struct Question {
    about: About,
    of: OffsetOf,
    /// The question that is out there.
    asked: Option<u64>,
    ask_at: Instant,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    /// No record is as young as the time.
    Nothing,
    At(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    First,
    End,
    To,
    Until,
}

impl PendingSeek {
    fn new(seek: Seek, answer: Option<oneshot::Sender<SeekOutcome>>, now: Instant) -> Self {
        let goal = seek.goal();
        let time = |about, to: Option<crate::seek::SeekTo>| Some((about, OffsetOf::Time(to?.since_epoch_ms()?)));
        let needed = [
            Some((About::First, OffsetOf::Beginning)),
            Some((About::End, OffsetOf::End)),
            time(About::To, Some(goal.to)),
            time(About::Until, goal.until),
        ];
        let needed = needed.into_iter().flatten().filter(|_| seek.needs_bounds());
        let question = |(about, of)| Question { about, of, asked: None, ask_at: now, told: Told::NotYet };
        Self { seek, answer, questions: needed.map(question).collect() }
    }

    pub(super) fn stops_feeding(&self) -> bool {
        self.seek.stops_feeding()
    }

    /// All that was asked for, once it is there.
    fn bounds(&self) -> Option<Bounds> {
        let is_complete = self.questions.iter().all(|question| question.told != Told::NotYet);
        let told = |about| match self.questions.iter().find(|question| question.about == about)?.told {
            Told::At(offset) => Some(offset),
            Told::Nothing | Told::NotYet => None,
        };
        let (first, end, to, until) = (told(About::First)?, told(About::End)?, told(About::To), told(About::Until));
        is_complete.then_some(Bounds { first, end, to, until })
    }
}

impl PollLoop {
    /// Takes what callers ask for, and goes on with what is under way.
    pub(super) fn serve_seeks(&mut self) {
        if self.parts.consumer.has_seeks() {
            for command in self.parts.consumer.take_seeks() {
                self.take_seek(command);
            }
        }
        while let Some(answer) = self.client.offsets_answer() {
            self.take_offsets(&answer);
        }
        for index in 0..self.partitions.len() {
            if self.partitions[index].is_replayed {
                self.end_replay(index);
            }
            if self.partitions[index].seek.is_some() {
                self.seek_on(index);
            }
        }
    }

    fn take_seek(&mut self, SeekCommand { assignment, goal, answer }: SeekCommand) {
        let commits = self.commits_offsets();
        let held = |partition: &&mut super::partition::Partition| Arc::ptr_eq(partition.queue.ready(), &assignment);
        let Some(partition) = self.partitions.iter_mut().find(held) else { return };
        if answer.is_closed() {
            // Whoever asked for it has given up before it began.
            return;
        }
        let now = Instant::now();
        // Nothing is said to be committed where nothing ever is.
        let goal = Goal { commits: goal.commits && commits, ..goal };
        let seek = match partition.seek.take() {
            Some(PendingSeek { mut seek, answer, .. }) => {
                if let Some(answer) = answer {
                    answer.send(SeekOutcome::Superseded).ok();
                }
                seek.supersede(goal, now);
                seek
            }
            None => Seek::new(goal, limits(self.parts.settings.revoke_timeout), now),
        };
        partition.seek = Some(PendingSeek::new(seek, Some(answer), now));
    }

    fn take_offsets(&mut self, answer: &OffsetsAnswer) {
        if self.lag_question == Some(answer.serial) {
            self.lag_question = None;
            self.take_ends(answer);
            return;
        }
        for partition in &mut self.partitions {
            let Some(pending) = &mut partition.seek else { continue };
            let Some(question) = pending.questions.iter_mut().find(|one| one.asked == Some(answer.serial)) else {
                continue;
            };
            question.asked = None;
            question.ask_at = Instant::now() + ASK_AGAIN;
            let one = answer.partitions.iter().find(|one| one.topic_partition == partition.topic_partition);
            let is_time = matches!(question.of, OffsetOf::Time(_));
            match one.map(|one| (one.error, one.offset)) {
                Some((None, offset)) if offset.is_some() || is_time => {
                    question.told = offset.map_or(Told::Nothing, Told::At);
                }
                _ => {}
            }
        }
    }

    pub(super) fn next_question(&mut self) -> u64 {
        self.last_question += 1;
        self.last_question
    }

    fn ask_for_bounds(&mut self, index: usize, now: Instant) {
        let Some(mut pending) = self.partitions[index].seek.take() else { return };
        let due =
            |question: &Question| question.told == Told::NotYet && question.asked.is_none() && question.ask_at <= now;
        for position in 0..pending.questions.len() {
            if due(&pending.questions[position]) {
                let serial = self.next_question();
                let question = &mut pending.questions[position];
                question.asked = Some(serial);
                let of = [(&self.partitions[index].topic_partition, question.of)];
                self.client.ask_offsets(serial, of, self.parts.settings.reads_committed(), ASK);
            }
        }
        if let Some(bounds) = pending.bounds() {
            pending.seek.resolved(bounds);
        }
        self.partitions[index].seek = Some(pending);
    }

    /// Takes the steps of a seek that can be taken now.
    fn seek_on(&mut self, index: usize) {
        let now = Instant::now();
        if self.partitions[index].seek.as_ref().is_some_and(|pending| pending.seek.needs_bounds()) {
            self.ask_for_bounds(index, now);
        }
        loop {
            let partition = &mut self.partitions[index];
            let facts = Facts {
                has_ended: partition.control.has_ended(),
                commit: self.commits.settled(&partition.topic_partition),
                open_from: partition.tracker.watermark().or(partition.start).map(CommitOffset::get),
            };
            let Some(pending) = &mut partition.seek else { return };
            match pending.seek.next(facts, now) {
                Action::Wait => return,
                Action::Interrupt => partition.control.interrupt(Interrupt::Seek),
                Action::Commit => self.commit_finished(index, now),
                Action::Cancel => {
                    for offset in partition.cancel(Interrupt::SecondSignal) {
                        tracing::warn!(
                            listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
                            partition = partition.topic_partition.partition(), offset,
                            "the handler did not end in time for a seek and is cancelled"
                        );
                    }
                    self.commit_finished(index, now);
                }
                Action::Begin(beginning) => self.begin_at(index, beginning, facts.open_from, now),
                Action::Answer(outcome) => {
                    let answer = pending.answer.take();
                    partition.seek = None;
                    partition.queue.ready().mark_quietly();
                    if let Some(answer) = answer {
                        tracing::info!(listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
                            partition = partition.topic_partition.partition(), "seek {outcome}");
                        // Whoever asked may have gone; it is done all the same.
                        answer.send(outcome).ok();
                    }
                    return;
                }
            }
        }
    }

    fn commit_finished(&mut self, index: usize, now: Instant) {
        self.note_progress(index);
        self.commits.ask_now(&self.partitions[index].topic_partition, now);
    }

    /// Ends the epoch, whose finished work is committed as far as it could be, and reads on from elsewhere.
    fn begin_at(&mut self, index: usize, beginning: Beginning, open_from: Option<i64>, now: Instant) {
        let Beginning { offset, commits, skipped, replay } = beginning;
        let topic_partition = self.partitions[index].topic_partition.clone();
        // Where it was to start is of no interest any more, nor how often a record had failed.
        self.forget_start(&topic_partition);
        if let Some(attempts) = &self.parts.listener.attempts {
            let mut attempts = attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            attempts.forget(&topic_partition, i64::MAX);
        }
        let start = offset.map(CommitOffset::at);
        let commits = commits && self.commits_offsets();
        self.begin_epoch_by(index, start, |coordinator, epoch| {
            coordinator.reposition(&topic_partition, epoch, (start, commits), now);
        });
        tracing::info!(
            listener = %self.parts.listener.id, topic = topic_partition.topic(), partition = topic_partition.partition(),
            from = open_from, to = offset, skipped, "the partition is read from another offset on"
        );
        if skipped > 0 {
            self.parts.listener.metrics.skipped_by_seek(skipped);
        }
        let partition = &mut self.partitions[index];
        partition.replay = replay;
        match offset {
            Some(offset) => {
                partition.sought = Some(Sought { offset, is_sure: false });
                partition.control.set_began_at(offset);
                partition.control.set_position(offset);
                self.seek(index, offset);
            }
            None => self.lose_position(index),
        }
    }

    /// Whether this batch is not what was sought. librdkafka's answer to an older question about the partition's start may
    /// come after a seek and take its place. Where the record at the target is gone, the second batch is as good as any.
    pub(super) fn is_read_from_elsewhere(&mut self, index: usize, batch: &RecordBatch) -> bool {
        let Some(sought) = self.partitions[index].sought.take() else { return false };
        let is_it = batch.records.first().is_none_or(|first| first.offset == sought.offset);
        if is_it || sought.is_sure {
            return false;
        }
        self.partitions[index].sought = Some(Sought { is_sure: true, ..sought });
        self.seek(index, sought.offset);
        true
    }

    /// Takes from a batch what lies behind the end of a replay: the partition goes on where it was when the rest is done.
    pub(super) fn cut_replay(&mut self, index: usize, batch: &mut RecordBatch) {
        let partition = &mut self.partitions[index];
        let Some(Replay { until, .. }) = partition.replay else { return };
        let keep = batch.records.partition_point(|record| record.offset < until);
        if keep < batch.records.len() {
            batch.records.truncate(keep);
            partition.is_replayed = true;
        }
    }

    fn end_replay(&mut self, index: usize) {
        self.note_progress(index);
        let partition = &mut self.partitions[index];
        let Some(replay) = partition.replay else { return };
        if partition.seek.is_none() && partition.tracker.oldest_open().is_none() {
            partition.is_replayed = false;
            partition.replay = None;
            let now = Instant::now();
            let seek = Seek::end_of(replay, limits(self.parts.settings.revoke_timeout), now);
            partition.seek = Some(PendingSeek::new(seek, None, now));
        }
    }
}

/// An offset that was sought and of which nothing has been read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    offset: i64,
    /// It was sought twice.
    is_sure: bool,
}

/// The share of one budget that each step has.
fn limits(revoke_timeout: Duration) -> Limits {
    Limits {
        resolve: RESOLVE_LIMIT,
        drain: revoke_timeout.mul_f64(Step::Drain.share()),
        commit: revoke_timeout.mul_f64(Step::Commit.share() - Step::BeforeCommit.share()),
    }
}
