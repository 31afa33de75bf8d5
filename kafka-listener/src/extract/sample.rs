//! One record for the tests of whatever reads records.

use std::any::Any;
use std::sync::Arc;

use crate::record::{Delivery, RawRecord, RecordBatch, RecordContext, Span, Timestamp, TopicPartition, encode_header};
use crate::state::States;

/// Record `orders-2@41` in an arena with something before and after each of its parts.
pub(crate) struct Sample {
    arena: Vec<u8>,
    key: Span,
    payload: Span,
    headers: Vec<u8>,
    pub(crate) states: States,
    pub(crate) tenure: Arc<dyn Any + Send + Sync>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self {
            arena: b"before".to_vec(),
            key: Span::ABSENT,
            payload: Span::ABSENT,
            headers: Vec::new(),
            states: States::default(),
            tenure: Arc::new(()),
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
        let batch = RecordBatch {
            topic_partition: TopicPartition::new("orders", 2),
            arena: arena.into(),
            records: vec![record],
        };
        let (listener, group_id) = (Arc::from("pay"), Arc::from("order-service"));
        let delivery = Delivery {
            listener: &listener,
            group_id: &group_id,
            states: &self.states,
            attempt: 3,
            tenure: &self.tenure,
        };
        read(RecordContext::new(&batch, 0, &delivery))
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let span = Span::new(self.arena.len(), bytes.len());
        self.arena.extend_from_slice(bytes);
        span
    }
}
