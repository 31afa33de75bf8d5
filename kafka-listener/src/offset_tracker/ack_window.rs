//! Which records of a partition are out to be acknowledged, and how far all of them are done.
//!
//! One window per partition and epoch. Records enter it in the order of their offsets when they are delivered, are
//! settled in any order, and leave it from the front: what it says to be done never lies behind an open record. Knows
//! nothing of time, and of who acknowledges.

use std::collections::VecDeque;
use std::time::Duration;

/// One delivery of one record: what an acknowledgement is good for. A record that is delivered again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryId(u64);

/// What became of the acknowledgement of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    Acknowledged,
    /// Deliver it again after this long.
    NotYet(Duration),
    /// Nobody can settle it any more.
    Dropped,
}

/// How far the window has come: what a settlement moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last record that is done with all before it, if any newly is.
    pub(crate) done: Option<i64>,
    /// How many records are newly so, and their sizes.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// A settlement came too late: the epoch is over, or the record was settled otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superseded;

/// A record that came back without being acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) offset: i64,
    /// How long to wait before it is delivered again; `None`: it counts as failed.
    pub(crate) again_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An acknowledgement of this delivery is out.
    Out(DeliveryId),
    /// It came back; the worker has not seen it yet. An error of the same delivery may still win over it.
    Back(Option<Duration>),
    /// The worker has it: it waits to be delivered again, or for an operator.
    Taken,
    Done,
}

/// The records of one partition that are delivered and not done together with all before them.
#[derive(Debug, Default)]
pub(crate) struct AckWindow {
    /// Ascending offsets. The first is not done.
    entries: VecDeque<Entry>,
    done_above: u64,
    came_back: u64,
    last_delivery: u64,
    is_closed: bool,
}

impl AckWindow {
    /// Notes that a record is being delivered: for the first time, behind all others, or once more.
    pub(crate) fn deliver(&mut self, offset: i64, bytes: u64) -> DeliveryId {
        self.last_delivery += 1;
        let delivery = DeliveryId(self.last_delivery);
        let state = State::Out(delivery);
        if let Some(entry) = self.find(offset) {
            let was_back = matches!(std::mem::replace(&mut entry.state, state), State::Back(..));
            self.came_back -= u64::from(was_back);
        } else {
            debug_assert!(self.entries.back().is_none_or(|last| last.offset < offset), "{offset} is delivered late");
            self.entries.push_back(Entry { offset, bytes, state });
        }
        delivery
    }

    /// Notes that a record that is being delivered is delivered once more; `None` if it is done already.
    pub(crate) fn deliver_again(&mut self, offset: i64) -> Option<DeliveryId> {
        self.find(offset).filter(|entry| entry.state != State::Done)?;
        Some(self.deliver(offset, 0))
    }

    /// Settles a delivery.
    ///
    /// # Errors
    ///
    /// It came too late and changed nothing.
    pub(crate) fn settle(
        &mut self,
        offset: i64,
        delivery: DeliveryId,
        settlement: Settlement,
    ) -> Result<Progress, Superseded> {
        if self.is_closed {
            return Err(Superseded);
        }
        let entry = self.find(offset).filter(|entry| entry.state == State::Out(delivery)).ok_or(Superseded)?;
        match settlement {
            Settlement::Acknowledged => return Ok(self.finish(offset)),
            Settlement::NotYet(delay) => entry.state = State::Back(Some(delay)),
            Settlement::Dropped => entry.state = State::Back(None),
        }
        self.came_back += 1;
        Ok(Progress::default())
    }

    /// The handler of the latest delivery of a record failed: its acknowledgement counts no more, unless it was given before.
    ///
    /// # Errors
    ///
    /// The record is acknowledged, and that stands.
    pub(crate) fn fail(&mut self, offset: i64) -> Result<(), Superseded> {
        let entry = self.find(offset).filter(|entry| entry.state != State::Done).ok_or(Superseded)?;
        let was_back = matches!(std::mem::replace(&mut entry.state, State::Taken), State::Back(..));
        self.came_back -= u64::from(was_back);
        Ok(())
    }

    /// Notes a record as done: acknowledged, or got past by a policy or an operator.
    pub(crate) fn finish(&mut self, offset: i64) -> Progress {
        let Some(entry) = self.find(offset).filter(|entry| entry.state != State::Done) else {
            return Progress::default();
        };
        let came_back = matches!(entry.state, State::Back(..));
        entry.state = State::Done;
        self.came_back -= u64::from(came_back);
        self.done_above += 1;
        let mut progress = Progress::default();
        while let Some(entry) = self.entries.front().filter(|entry| entry.state == State::Done) {
            progress.done = Some(entry.offset);
            progress.records += 1;
            progress.bytes += entry.bytes;
            self.entries.pop_front();
        }
        self.done_above -= progress.records;
        progress
    }

    /// The first record that came back without being acknowledged, for the worker to deal with.
    pub(crate) fn take_returned(&mut self) -> Option<Returned> {
        if self.came_back == 0 {
            return None;
        }
        let (entry, again_after) = self.entries.iter_mut().find_map(|entry| match entry.state {
            State::Back(again_after) => Some((entry, again_after)),
            _ => None,
        })?;
        entry.state = State::Taken;
        self.came_back -= 1;
        Some(Returned { offset: entry.offset, again_after })
    }

    /// What came of the latest delivery of a record; `None` while its acknowledgement is out.
    pub(crate) fn settlement(&mut self, offset: i64) -> Option<Settlement> {
        let Some(entry) = self.find(offset) else { return Some(Settlement::Acknowledged) };
        let again_after = match entry.state {
            State::Out(_) | State::Taken => return None,
            State::Back(again_after) => again_after,
            State::Done => return Some(Settlement::Acknowledged),
        };
        entry.state = State::Taken;
        self.came_back -= 1;
        Some(again_after.map_or(Settlement::Dropped, Settlement::NotYet))
    }

    /// From now on every settlement comes too late.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Records that were delivered and are not done.
    pub(crate) fn open(&self) -> u64 {
        self.entries.len() as u64 - self.done_above
    }

    /// Records that user code has had and that are read again if the epoch ends here: those whose acknowledgement is
    /// out, and those that are done behind an open one.
    pub(crate) fn handed_out(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.state != State::Taken).count() as u64
    }

    /// Whether an acknowledgement is out.
    pub(crate) fn is_any_out(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.state, State::Out(_)))
    }

    /// Whether what holds up a record is one that came back: it is done only when the worker has delivered that again.
    pub(crate) fn waits_for_returned(&self, offset: i64) -> bool {
        let before = self.entries.iter().take_while(|entry| entry.offset < offset);
        before.into_iter().any(|entry| matches!(entry.state, State::Back(_) | State::Taken))
    }

    /// The record that holds up what is done behind it.
    pub(crate) fn oldest_open(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.offset)
    }

    fn find(&mut self, offset: i64) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries.get_mut(index)
    }
}

#[cfg(test)]
mod tests;
