//! Taking records out of a partition's queue: one call for many, copied into one arena, freed at once.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::{KafkaError, Queue, owned, sys};
use crate::record::{Arenas, RawRecord, RecordBatch, Span, Timestamp, TopicPartition, encode_header};

/// Room for the pointers of one drain, and memory for the records; one per poll loop.
#[derive(Debug)]
pub(crate) struct Scratch {
    messages: Vec<*mut sys::Message>,
    /// Whether headers are taken along.
    headers: bool,
    arenas: Arc<Arenas>,
}

// SAFETY: the pointers are written and consumed within one call of `drain`; between calls they are never read.
unsafe impl Send for Scratch {}

impl Scratch {
    pub(crate) fn new(capacity: usize, headers: bool) -> Self {
        Self { messages: vec![std::ptr::null_mut(); capacity], headers, arenas: Arc::default() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.messages.len()
    }

    /// Frees memory that has not been needed for a while. To be called from time to time.
    pub(crate) fn trim(&self) {
        self.arenas.trim();
    }
}

/// What a partition's queue holds besides records: its error, and the offset it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionError {
    pub(crate) offset: i64,
    pub(crate) error: KafkaError,
}

/// The outcome of one drain: records up to the first error, and that error.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) batch: RecordBatch,
    pub(crate) error: Option<PartitionError>,
    /// Records that stood behind an error in the same drain. They are not handed on.
    pub(crate) behind_error: usize,
    /// Whether the drain came back as full as it was allowed to be: more may be waiting.
    pub(crate) full: bool,
}

impl Queue {
    /// Takes at most `limit` messages. Never waits. `arena_hint` is the arena's first capacity in bytes.
    pub(crate) fn drain(
        &self,
        topic_partition: &TopicPartition,
        scratch: &mut Scratch,
        limit: usize,
        arena_hint: usize,
    ) -> Option<Drained> {
        let limit = limit.min(scratch.messages.len());
        // SAFETY: the handle is live and the array has room for `limit` pointers.
        let count =
            unsafe { sys::rd_kafka_consume_batch_queue(self.as_ptr(), 0, scratch.messages.as_mut_ptr(), limit) };
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            return None;
        }
        let mut spare = scratch.arenas.take(arena_hint, count);
        let mut error = None;
        let mut behind_error = 0;
        for &message in &scratch.messages[..count] {
            // SAFETY: the call above filled in `count` live messages, ours to destroy; each is, once, after its use.
            unsafe {
                if error.is_some() {
                    behind_error += 1;
                } else if (*message).err == 0 {
                    spare.records.push(copy(&*message, &mut spare.arena, scratch.headers));
                } else {
                    error = Some(partition_error(&*message));
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
        let batch = RecordBatch::from_arenas(topic_partition.clone(), spare, &scratch.arenas);
        Some(Drained { batch, error, behind_error, full: count == limit })
    }

    /// Throws away all that is queued. Needed once after unassigning, since librdkafka frees stale messages only when
    /// somebody looks at the queue.
    pub(crate) fn discard(&self, scratch: &mut Scratch) {
        loop {
            // SAFETY: as in `drain`.
            let count = unsafe {
                let room = scratch.messages.len();
                sys::rd_kafka_consume_batch_queue(self.as_ptr(), 0, scratch.messages.as_mut_ptr(), room)
            };
            let count = usize::try_from(count).unwrap_or(0);
            for &message in &scratch.messages[..count] {
                // SAFETY: as in `drain`.
                unsafe { sys::rd_kafka_message_destroy(message) };
            }
            if count < scratch.messages.len() {
                return;
            }
        }
    }
}

/// # Safety
/// `message` is a live record message.
unsafe fn copy(message: &sys::Message, arena: &mut Vec<u8>, with_headers: bool) -> RawRecord {
    // SAFETY: key and payload are null or point to that many bytes; the headers belong to the message and are only
    // read while it lives.
    unsafe {
        let key = copy_bytes(message.key, message.key_len, arena);
        let payload = copy_bytes(message.payload, message.len, arena);
        let mut kind: c_int = 0;
        let millis = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        let timestamp = match kind {
            sys::TIMESTAMP_CREATE_TIME => Timestamp::CreateTime(millis),
            sys::TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppendTime(millis),
            _ => Timestamp::NotAvailable,
        };
        let headers = if with_headers { headers_of(message, arena) } else { Span::ABSENT };
        RawRecord { offset: message.offset, timestamp, key, payload, headers }
    }
}

/// # Safety
/// `bytes` is null or points to `len` bytes.
unsafe fn copy_bytes(bytes: *const u8, len: usize, arena: &mut Vec<u8>) -> Span {
    if bytes.is_null() {
        return Span::ABSENT;
    }
    let start = arena.len();
    // SAFETY: passed on from the caller.
    arena.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes, len) });
    Span::new(start, len)
}

/// # Safety
/// `message` is a live record message.
unsafe fn headers_of(message: &sys::Message, arena: &mut Vec<u8>) -> Span {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the list belongs to the message and is only read while that lives.
    unsafe {
        match sys::rd_kafka_message_headers(message, &raw mut headers) {
            0 => copy_headers(headers, arena),
            _ => Span::ABSENT,
        }
    }
}

/// # Safety
/// `headers` is a live list of headers.
unsafe fn copy_headers(headers: *const sys::Headers, arena: &mut Vec<u8>) -> Span {
    let start = arena.len();
    for index in 0.. {
        let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) =
            (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: out-parameters of the call; what they point to belongs to the list.
        unsafe {
            if sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) != 0 {
                break;
            }
            let name = std::ffi::CStr::from_ptr(name).to_bytes();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            encode_header(arena, name, value);
        }
    }
    Span::new(start, arena.len() - start)
}

/// # Safety
/// `message` is a live error message: its payload is text, or null.
unsafe fn partition_error(message: &sys::Message) -> PartitionError {
    // SAFETY: `err2name` returns a static string; the text is `len` bytes of the message.
    unsafe {
        let name = owned(sys::rd_kafka_err2name(message.err));
        let text = if message.payload.is_null() {
            owned(sys::rd_kafka_err2str(message.err))
        } else {
            String::from_utf8_lossy(std::slice::from_raw_parts(message.payload, message.len)).into_owned()
        };
        let error = KafkaError { code: message.err, text: format!("{text} ({name})") };
        PartitionError { offset: message.offset, error }
    }
}
