//! The producer client: records in, the broker's answer to each out.
//!
//! Made of librdkafka's own calls and not of rdkafka's producers: names of headers are bytes there and text here, codes
//! that a broker invents later are plain numbers, and dropping it is the business of the thread that serves it.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::client::{TopicState, fatal_error, millis, topic_state};
use super::configuration::Configuration;
use super::event::Event;
use super::list::topic_name;
use super::{KafkaError, owned, sys};
use crate::record::HeaderIter;

/// What the broker said to one record: the partition and the offset it was stored at.
pub(crate) type Delivery = Result<(i32, i64), KafkaError>;

/// A record on its way out. librdkafka copies all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'r> {
    /// Free of NUL.
    pub(crate) topic: &'r str,
    /// `None`: chosen by the key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) payload: Option<&'r [u8]>,
    /// Milliseconds since the Unix epoch; `None`, and 0 as librdkafka reads it, is now.
    pub(crate) timestamp: Option<i64>,
    /// As `encode_header` writes them.
    pub(crate) headers: &'r [u8],
}

/// What became of a record at the door.
#[derive(Debug)]
pub(crate) enum Enqueued {
    /// The answer comes, whatever it is, unless the client is dropped before.
    Accepted(oneshot::Receiver<Delivery>),
    /// The queue is full for the moment.
    Full,
}

/// A producer of librdkafka. Used by any thread; one of them serves it, without which no answer comes.
#[derive(Debug)]
pub(crate) struct ProducerClient {
    handle: *mut sys::Client,
    events: *mut sys::NativeQueue,
}

// SAFETY: librdkafka's client and queues may be used from any thread at the same time.
unsafe impl Send for ProducerClient {}
// SAFETY: as above.
unsafe impl Sync for ProducerClient {}

impl ProducerClient {
    /// Creates the client. Connects in the background; never waits for a broker.
    pub(crate) fn new<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Arc<Self>, KafkaError> {
        let mut conf = Configuration::new();
        for (name, value) in properties {
            conf.set(name, value)?;
        }
        conf.set("log.queue", "true")?;
        let mut text = [0 as c_char; 512];
        // SAFETY: the configuration is live, and `rd_kafka_new` takes it only on success; `text` has the length given;
        // the queue's handle is destroyed once, with the client.
        unsafe {
            sys::rd_kafka_conf_set_events(conf.as_ptr(), sys::EVENT_DELIVERY | sys::EVENT_ERROR);
            let handle = sys::rd_kafka_new(sys::PRODUCER, conf.as_ptr(), text.as_mut_ptr(), text.len());
            if handle.is_null() {
                return Err(KafkaError { code: 0, text: owned(text.as_ptr()) });
            }
            conf.taken();
            let client = Self { handle, events: sys::rd_kafka_queue_get_main(handle) };
            KafkaError::check(sys::rd_kafka_set_log_queue(handle, client.events))?;
            Ok(Arc::new(client))
        }
    }

    /// Puts a record into the queue. Never waits.
    pub(crate) fn enqueue(&self, record: &Outgoing<'_>) -> Result<Enqueued, KafkaError> {
        const QUEUE_FULL: sys::ErrorCode = -184;
        let bytes = |part: Option<&[u8]>| part.map_or((std::ptr::null(), 0), |part| (part.as_ptr(), part.len()));
        let ((key, key_len), (payload, payload_len)) = (bytes(record.key), bytes(record.payload));
        let topic = topic_name(record.topic);
        let (answer, answered) = oneshot::channel::<Delivery>();
        let opaque = Box::into_raw(Box::new(answer));
        // SAFETY: every argument has the type that its tag asks for and lives through the call, which copies key and
        // payload and takes headers and opaque over, unless it fails: then both are still ours and freed here, once.
        unsafe {
            let headers = native_headers(record.headers);
            let code = sys::rd_kafka_producev(
                self.handle,
                sys::V_TOPIC,
                topic.as_ptr(),
                sys::V_PARTITION,
                record.partition.unwrap_or(-1),
                sys::V_FLAGS,
                sys::COPY,
                sys::V_KEY,
                key,
                key_len,
                sys::V_VALUE,
                payload,
                payload_len,
                sys::V_TIMESTAMP,
                record.timestamp.unwrap_or(0),
                sys::V_OPAQUE,
                opaque,
                sys::V_HEADERS,
                headers,
                sys::V_END,
            );
            if code == 0 {
                return Ok(Enqueued::Accepted(answered));
            }
            sys::rd_kafka_headers_destroy(headers);
            drop(Box::from_raw(opaque));
            if code == QUEUE_FULL { Ok(Enqueued::Full) } else { Err(KafkaError::from_code(code)) }
        }
    }

    /// Passes answers on to who waits for them, for at most `wait`. Returns what else librdkafka has to say.
    pub(crate) fn serve(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is live; the event is ours and destroyed once, after its contents were taken.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.events, millis(wait));
            if event.is_null() {
                return None;
            }
            let taken = if sys::rd_kafka_event_type(event) == sys::EVENT_DELIVERY {
                pass_on(event);
                Event::Other
            } else {
                Event::copy_of(event)
            };
            sys::rd_kafka_event_destroy(event);
            Some(taken)
        }
    }

    /// Lets [`ProducerClient::serve`] return at once.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is live.
        unsafe { sys::rd_kafka_queue_yield(self.events) }
    }

    /// How many records wait for their answer, those whose answer is on its way included.
    pub(crate) fn outstanding(&self) -> usize {
        // SAFETY: the client is live.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.handle) }).unwrap_or(0)
    }

    /// Sends what lingers and waits for the answers, for at most `wait`. Somebody else serves meanwhile.
    pub(crate) fn flush(&self, wait: Duration) {
        // SAFETY: the client is live. Whether all are out is asked by `outstanding`.
        let _ = unsafe { sys::rd_kafka_flush(self.handle, millis(wait)) };
    }

    /// Gives up every record: each gets its answer.
    pub(crate) fn purge(&self) {
        // SAFETY: the client is live. It cannot fail for a producer.
        let _ = unsafe { sys::rd_kafka_purge(self.handle, sys::PURGE_ALL) };
    }

    /// Asks the cluster about one topic. Waits for a broker, at most `wait`.
    pub(crate) fn topic_state(&self, topic: &str, wait: Duration) -> Result<TopicState, KafkaError> {
        // SAFETY: the client is live.
        unsafe { topic_state(self.handle, topic, wait) }
    }

    /// The fatal error that ended this client, if one did.
    pub(crate) fn fatal_error(&self) -> Option<KafkaError> {
        // SAFETY: the client is live.
        unsafe { fatal_error(self.handle) }
    }

    /// Ends the client as a fatal error of this code would.
    #[cfg(test)]
    pub(crate) fn break_down(&self, code: i32) {
        // SAFETY: the client is live and the text is a static string.
        let _ = unsafe { sys::rd_kafka_test_fatal_error(self.handle, code, c"caused by a test".as_ptr()) };
    }
}

impl Drop for ProducerClient {
    /// Ends librdkafka's threads. Whoever still waits for an answer is told that there is none, if [`Self::purge`] and
    /// [`Self::serve`] have not seen to it.
    fn drop(&mut self) {
        // SAFETY: both are live and destroyed once, the queue before its client.
        unsafe {
            sys::rd_kafka_queue_destroy(self.events);
            sys::rd_kafka_destroy_flags(self.handle, 0);
        }
    }
}

/// # Safety
/// `event` is a live event of deliveries.
unsafe fn pass_on(event: *mut sys::Event) {
    loop {
        // SAFETY: the messages belong to the event; each comes once, and with it the opaque that `enqueue` gave it.
        let (answer, delivery) = unsafe {
            let message = sys::rd_kafka_event_message_next(event);
            if message.is_null() {
                return;
            }
            let message = &*message;
            let answer = Box::from_raw(message.private.cast::<oneshot::Sender<Delivery>>());
            (answer, KafkaError::check(message.err).map(|()| (message.partition, message.offset)))
        };
        // Who asked may have gone; the record is stored all the same.
        answer.send(delivery).ok();
    }
}

/// # Safety
/// The list is the caller's to hand over or destroy.
unsafe fn native_headers(encoded: &[u8]) -> *mut sys::Headers {
    let size = |bytes: &[u8]| bytes.len().cast_signed();
    // SAFETY: the list is live, and name and value are copied by the call, each with its length.
    unsafe {
        let headers = sys::rd_kafka_headers_new(HeaderIter::new(encoded).count());
        for (name, value) in HeaderIter::new(encoded) {
            let (at, len) = value.map_or((std::ptr::null(), 0), |value| (value.as_ptr().cast(), size(value)));
            let _: c_int = sys::rd_kafka_header_add(headers, name.as_ptr().cast(), size(name), at, len);
        }
        headers
    }
}
