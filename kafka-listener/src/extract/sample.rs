//! One record for the tests of whatever reads records.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::Codec;
use crate::config::ProducerSettings;
use crate::kafka::ProducerEngine;
use crate::ownership::{OwnerKey, PartitionLease};
use crate::producer::Producer;
use crate::record::{Delivery, RawRecord, RecordBatch, RecordContext, Span, Timestamp, TopicPartition, encode_header};
use crate::slots::{Slots, WorkPermit};
use crate::state::States;

/// Record `orders-2@41` in an arena with something before and after each of its parts.
pub(crate) struct Sample {
    arena: Vec<u8>,
    key: Span,
    payload: Span,
    headers: Vec<u8>,
    pub(crate) codec: Codec,
    pub(crate) states: States,
    producer: Producer,
    pub(crate) lease: Arc<PartitionLease>,
    pub(crate) permit: WorkPermit,
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self::with_slots(Slots::new(None))
    }

    /// The same, handled under these slots.
    pub(crate) fn with_slots(slots: Slots) -> Self {
        let lease = lease();
        Self {
            arena: b"before".to_vec(),
            key: Span::ABSENT,
            payload: Span::ABSENT,
            headers: Vec::new(),
            codec: Codec::Json,
            states: States::default(),
            producer: unconnected(),
            permit: WorkPermit::new(slots, Arc::clone(&lease)),
            lease,
        }
    }

    pub(crate) fn of_payload(payload: &[u8]) -> Self {
        let mut sample = Self::new();
        sample.payload = sample.put(payload);
        sample
    }

    pub(crate) fn key(mut self, key: &[u8]) -> Self {
        self.key = self.put(key);
        self
    }

    pub(crate) fn header(mut self, name: &[u8], value: Option<&[u8]>) -> Self {
        encode_header(&mut self.headers, name, value);
        self
    }

    pub(crate) fn state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> Self {
        self.states.insert(state).unwrap();
        self
    }

    /// Lends the record to `read`.
    pub(crate) fn read<R>(&self, read: impl FnOnce(RecordContext<'_>) -> R) -> R {
        let mut arena = self.arena.clone();
        let headers = if self.headers.is_empty() { Span::ABSENT } else { Span::new(arena.len(), self.headers.len()) };
        arena.extend_from_slice(&self.headers);
        arena.extend_from_slice(b"after");
        let record = RawRecord {
            offset: 41,
            timestamp: Timestamp::CreateTime(1_700_000_000_000),
            key: self.key,
            payload: self.payload,
            headers,
        };
        let batch = RecordBatch::new(TopicPartition::new("orders", 2), arena, vec![record]);
        self.lend(&batch, 0, read)
    }

    /// Lends a record of another batch as if it were handled under this sample's slots.
    pub(crate) fn lend<R>(&self, batch: &RecordBatch, index: usize, read: impl FnOnce(RecordContext<'_>) -> R) -> R {
        let (listener, group_id) = (Arc::from("pay"), Arc::from("order-service"));
        let delivery = Delivery {
            listener: &listener,
            group_id: &group_id,
            states: &self.states,
            producer: &self.producer,
            attempt: 3,
            attempt_limit: Some(5),
            codec: self.codec,
            filtered: AtomicBool::new(false),
            permit: &self.permit,
            ack: None,
            ack_taken: AtomicBool::new(false),
            replies: None,
            noted: Mutex::default(),
        };
        read(RecordContext::new(batch, index, &delivery))
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let span = Span::new(self.arena.len(), bytes.len());
        self.arena.extend_from_slice(bytes);
        span
    }
}

/// A producer that nobody asks to send anything.
fn unconnected() -> Producer {
    let settings = ProducerSettings { delivery_timeout: Duration::from_secs(1), is_safe: true, properties: Vec::new() };
    Producer::new(Arc::new(ProducerEngine::new(settings)))
}

/// A lease on a partition that nobody else has.
fn lease() -> Arc<PartitionLease> {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    let topic_partition = TopicPartition::new("samples", NEXT.fetch_add(1, Ordering::Relaxed));
    let key = OwnerKey { cluster: "samples".into(), group_id: "samples".into(), topic_partition };
    match pin!(PartitionLease::acquire(key)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(lease) => lease,
        Poll::Pending => panic!("nobody else has the partition"),
    }
}
