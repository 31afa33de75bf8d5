//! The end of a client: leaving the group without being missed there, closing, and a drop that can be bounded.

use std::cell::Cell;
use std::ffi::c_int;
use std::time::{Duration, Instant};

use super::client::Client;
use super::{KafkaError, sys};

/// The native client, and what has to be known of it to end it well.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) handle: *mut sys::Client,
    /// Whether a rebalance was taken from the queue that librdkafka still waits to have answered.
    pub(super) owes_answer: Cell<bool>,
    /// Whether the group counts on being left by the close itself, or on not being left: KIP-848, static members.
    ends_by_close: bool,
    farewell: Cell<Farewell>,
}

/// How far a client has got with leaving.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    NotYet,
    /// The subscription is being given up.
    Begun {
        since: Instant,
        ask_at: Instant,
    },
    /// The close has begun: whatever is asked without need may never be answered.
    Closing,
}

// SAFETY: librdkafka's client may be used from any thread.
unsafe impl Send for Native {}

impl Native {
    pub(super) fn new(handle: *mut sys::Client, ends_by_close: bool) -> Self {
        Self { handle, owes_answer: Cell::new(false), ends_by_close, farewell: Cell::new(Farewell::NotYet) }
    }

    /// Whether librdkafka's own thread answers a question about the group. That thread never waits for the network, so
    /// the answer comes at once, also while no broker is there or the client is fatally broken. Only a group that is
    /// closed between the question and its turn drops it without an answer; and a group does not close while it waits
    /// for a rebalance to be answered.
    pub(super) fn answers(&self) -> Result<(), KafkaError> {
        if matches!(self.farewell.get(), Farewell::Closing) && !self.owes_answer.get() {
            return Err(KafkaError { code: 0, text: "the client is closing and waits for no answer".to_owned() });
        }
        Ok(())
    }

    /// Whether there is a subscription, and nobody has asked to give it up.
    fn is_subscribed(&self) -> bool {
        let mut topics = std::ptr::null_mut();
        // SAFETY: the client is live; the list is ours when there is one, and destroyed once.
        unsafe {
            if sys::rd_kafka_subscription(self.handle, &raw mut topics) != 0 || topics.is_null() {
                return false;
            }
            let is_subscribed = (*topics).cnt > 0;
            sys::rd_kafka_topic_partition_list_destroy(topics);
            is_subscribed
        }
    }

    /// Closes the client, giving back whatever it has and is given. `false`: not in time.
    fn close(&self, within: Duration) -> bool {
        const STEP_MS: c_int = 20;
        // SAFETY: the client is live, and the handle of its queue until it is destroyed below, once; events are ours.
        // Nothing is assigned unless an answer is waited for: a client that is closed meanwhile would never reply.
        unsafe {
            let events = sys::rd_kafka_queue_get_consumer(self.handle);
            // The only error left is a fatal one, after which there is no close to wait for.
            let is_closing = KafkaError::check_object(sys::rd_kafka_consumer_close_queue(self.handle, events)).is_ok();
            let since = Instant::now();
            while is_closing && !self.is_closed() && since.elapsed() < within {
                if self.owes_answer.take() {
                    sys::rd_kafka_assign(self.handle, std::ptr::null());
                }
                let event = sys::rd_kafka_queue_poll(events, STEP_MS);
                if !event.is_null() {
                    self.owes_answer.set(sys::rd_kafka_event_type(event) == sys::EVENT_REBALANCE);
                    sys::rd_kafka_event_destroy(event);
                }
            }
            sys::rd_kafka_queue_destroy(events);
            !is_closing || self.is_closed()
        }
    }

    fn is_closed(&self) -> bool {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_consumer_closed(self.handle) != 0 }
    }
}

impl Drop for Native {
    /// Closes the client if nobody has. librdkafka never comes back from destroying one with an unanswered rebalance or
    /// in the middle of leaving its group, so one that is not closed in time is left to itself.
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        const NO_CONSUMER_CLOSE: c_int = 0x8;
        if !self.is_closed() && !self.close(PATIENCE) {
            tracing::error!("a client of librdkafka was dropped before it was closed, and its threads go on running");
            return;
        }
        // SAFETY: the client is live and destroyed once. Without the flag the call would close the consumer itself and
        // wait for that without a deadline.
        unsafe { sys::rd_kafka_destroy_flags(self.handle, NO_CONSUMER_CLOSE) }
    }
}

impl Client {
    /// Takes a step towards leaving the group and closing; to be called again and again, with events served and
    /// answered in between, until [`Client::is_closed`]. An error means that the client is fatally broken or closed
    /// already: there is nothing to wait for.
    ///
    /// A close alone would not do. While a cooperative group has assigned nothing to its member (a spare, or one whose
    /// join is under way), librdkafka closes without a word to the coordinator, and from then on ignores the answer to
    /// its join: the group waits for that member, and for what it was given, until the session times out. Giving up the
    /// subscription first leaves in every state, and librdkafka puts that off until a join is through.
    pub(crate) fn leave(&self) -> Result<(), KafkaError> {
        const ASK_EVERY: Duration = Duration::from_millis(10);
        let now = Instant::now();
        let (since, ask_at) = match self.native.farewell.get() {
            Farewell::NotYet => (now, now),
            Farewell::Begun { since, ask_at } => (since, ask_at),
            Farewell::Closing => return Ok(()),
        };
        if now < ask_at {
            return Ok(());
        }
        let may_close = self.native.ends_by_close
            || self.assigns_itself.get()
            || self.fatal_error().is_some()
            || (!self.awaits_its_name(now.duration_since(since)) && self.has_left());
        if may_close {
            return self.begin_close();
        }
        self.native.farewell.set(Farewell::Begun { since, ask_at: now + ASK_EVERY });
        Ok(())
    }

    /// Whether the coordinator may be about to answer the first join with a member id. Who goes before that leaves a
    /// nameless member behind, for which the next rebalance waits. The answer to a first join waits for nobody else.
    fn awaits_its_name(&self, waited: Duration) -> bool {
        const LONGEST: Duration = Duration::from_secs(3);
        waited < LONGEST
            && self.member_id().is_none()
            && self.native.is_subscribed()
            // As long as no broker has been heard of, none has heard of us.
            && self.cluster_id(Duration::ZERO).is_some()
    }

    /// Gives up the subscription, and with it the membership. `false`: a rebalance or the revoke has to be through
    /// first. Asked again each time, since a join that fails meanwhile is not waited for.
    fn has_left(&self) -> bool {
        // The only error is that of a client without a group.
        self.unsubscribe().ok();
        // librdkafka forgets the name when it tells the coordinator, whose answer the close waits for.
        self.member_id().is_none()
    }

    /// Begins to close: a revoke event follows if anything is assigned, and once that is answered
    /// [`Client::is_closed`] turns true.
    pub(super) fn begin_close(&self) -> Result<(), KafkaError> {
        self.native.farewell.set(Farewell::Closing);
        // SAFETY: client and queue are live.
        KafkaError::check_object(unsafe {
            sys::rd_kafka_consumer_close_queue(self.native.handle, self.events.as_ptr())
        })
    }

    /// Whether the client may be dropped without leaving a member behind.
    pub(crate) fn is_closed(&self) -> bool {
        self.native.is_closed()
    }
}
