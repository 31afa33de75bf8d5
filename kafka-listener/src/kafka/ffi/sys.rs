//! The functions and structs of librdkafka's C API that the engine uses, declared once more with error codes as plain
//! integers: rdkafka-sys declares them as a Rust enum, where a code that it does not know yet is undefined behaviour
//! (<https://github.com/fede1024/rust-rdkafka/issues/127>). The symbols themselves come from rdkafka-sys.

use std::ffi::{c_char, c_int, c_void};

use rdkafka as _;

/// `rd_kafka_resp_err_t`.
pub(super) type ErrorCode = c_int;

macro_rules! opaque {
    ($($name:ident),*) => { $(
        #[repr(C)]
        #[derive(Debug)]
        pub(super) struct $name { _opaque: [u8; 0] }
    )* };
}
opaque!(Conf, Client, NativeQueue, Event, Headers, NativeError, GroupMetadata, Topic, AdminOptions, OffsetInfo);

/// `rd_kafka_message_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Message {
    pub(super) err: ErrorCode,
    pub(super) topic: *mut Topic,
    pub(super) partition: i32,
    pub(super) payload: *const u8,
    pub(super) len: usize,
    pub(super) key: *const u8,
    pub(super) key_len: usize,
    pub(super) offset: i64,
    /// Of a message that was produced: its opaque.
    pub(super) private: *mut c_void,
}

/// `rd_kafka_topic_partition_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Element {
    pub(super) topic: *const c_char,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) metadata: *mut c_void,
    pub(super) metadata_size: usize,
    pub(super) opaque: *mut c_void,
    pub(super) err: ErrorCode,
    private: *mut c_void,
}

/// `rd_kafka_topic_partition_list_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct List {
    pub(super) cnt: c_int,
    pub(super) size: c_int,
    pub(super) elems: *mut Element,
}

/// `rd_kafka_metadata_partition_t`, of which only the size matters here.
#[repr(C)]
#[derive(Debug)]
pub(super) struct MetadataPartition {
    pub(super) id: i32,
    pub(super) err: ErrorCode,
    leader: i32,
    replica_cnt: c_int,
    replicas: *mut i32,
    isr_cnt: c_int,
    isrs: *mut i32,
}

/// `rd_kafka_metadata_topic_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct MetadataTopic {
    pub(super) topic: *const c_char,
    pub(super) partition_cnt: c_int,
    partitions: *mut MetadataPartition,
    pub(super) err: ErrorCode,
}

/// `rd_kafka_metadata_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Metadata {
    broker_cnt: c_int,
    brokers: *mut c_void,
    pub(super) topic_cnt: c_int,
    pub(super) topics: *mut MetadataTopic,
    orig_broker_id: i32,
    orig_broker_name: *mut c_char,
}

pub(super) const PRODUCER: c_int = 0;
pub(super) const CONSUMER: c_int = 1;
pub(super) const CONF_OK: c_int = 0;

pub(super) const EVENT_DELIVERY: c_int = 0x1;
pub(super) const EVENT_FETCH: c_int = 0x2;
pub(super) const EVENT_LOG: c_int = 0x4;
pub(super) const EVENT_ERROR: c_int = 0x8;
pub(super) const EVENT_REBALANCE: c_int = 0x10;
pub(super) const EVENT_OFFSET_COMMIT: c_int = 0x20;

pub(super) const ASSIGN_PARTITIONS: ErrorCode = -175;
pub(super) const REVOKE_PARTITIONS: ErrorCode = -174;

pub(super) const TIMESTAMP_CREATE_TIME: c_int = 1;
pub(super) const TIMESTAMP_LOG_APPEND_TIME: c_int = 2;

/// `rd_kafka_vtype_t`: what the arguments of `rd_kafka_producev` are.
pub(super) const V_END: c_int = 0;
pub(super) const V_TOPIC: c_int = 1;
pub(super) const V_PARTITION: c_int = 3;
pub(super) const V_VALUE: c_int = 4;
pub(super) const V_KEY: c_int = 5;
pub(super) const V_OPAQUE: c_int = 6;
pub(super) const V_FLAGS: c_int = 7;
pub(super) const V_TIMESTAMP: c_int = 8;
pub(super) const V_HEADERS: c_int = 10;

/// `RD_KAFKA_MSG_F_COPY`.
pub(super) const COPY: c_int = 0x2;
/// `RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT`.
pub(super) const PURGE_ALL: c_int = 0x3;

/// `rd_kafka_admin_op_t`.
pub(super) const ADMIN_LIST_OFFSETS: c_int = 21;
/// `rd_kafka_IsolationLevel_t`.
pub(super) const READ_UNCOMMITTED: c_int = 0;
pub(super) const READ_COMMITTED: c_int = 1;

pub(super) type QueueCallback = unsafe extern "C" fn(client: *mut Client, opaque: *mut c_void);

unsafe extern "C" {
    pub(super) fn rd_kafka_conf_new() -> *mut Conf;
    pub(super) fn rd_kafka_conf_destroy(conf: *mut Conf);
    pub(super) fn rd_kafka_conf_set(
        conf: *mut Conf,
        name: *const c_char,
        value: *const c_char,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_conf_set_events(conf: *mut Conf, events: c_int);
    pub(super) fn rd_kafka_new(kind: c_int, conf: *mut Conf, text: *mut c_char, size: usize) -> *mut Client;
    pub(super) fn rd_kafka_poll_set_consumer(client: *mut Client) -> ErrorCode;
    pub(super) fn rd_kafka_set_log_queue(client: *mut Client, queue: *mut NativeQueue) -> ErrorCode;
    pub(super) fn rd_kafka_destroy_flags(client: *mut Client, flags: c_int);

    pub(super) fn rd_kafka_queue_new(client: *mut Client) -> *mut NativeQueue;
    pub(super) fn rd_kafka_queue_get_consumer(client: *mut Client) -> *mut NativeQueue;
    pub(super) fn rd_kafka_queue_get_main(client: *mut Client) -> *mut NativeQueue;
    pub(super) fn rd_kafka_queue_get_partition(
        client: *mut Client,
        topic: *const c_char,
        partition: i32,
    ) -> *mut NativeQueue;
    pub(super) fn rd_kafka_queue_forward(source: *mut NativeQueue, destination: *mut NativeQueue);
    pub(super) fn rd_kafka_queue_cb_event_enable(
        queue: *mut NativeQueue,
        callback: Option<QueueCallback>,
        opaque: *mut c_void,
    );
    pub(super) fn rd_kafka_queue_destroy(queue: *mut NativeQueue);
    pub(super) fn rd_kafka_queue_yield(queue: *mut NativeQueue);
    pub(super) fn rd_kafka_queue_poll(queue: *mut NativeQueue, timeout_ms: c_int) -> *mut Event;
    pub(super) fn rd_kafka_consume_batch_queue(
        queue: *mut NativeQueue,
        timeout_ms: c_int,
        messages: *mut *mut Message,
        size: usize,
    ) -> isize;

    pub(super) fn rd_kafka_event_type(event: *const Event) -> c_int;
    pub(super) fn rd_kafka_event_error(event: *mut Event) -> ErrorCode;
    pub(super) fn rd_kafka_event_error_string(event: *mut Event) -> *const c_char;
    pub(super) fn rd_kafka_event_error_is_fatal(event: *mut Event) -> c_int;
    pub(super) fn rd_kafka_event_topic_partition_list(event: *mut Event) -> *mut List;
    pub(super) fn rd_kafka_event_opaque(event: *mut Event) -> *mut c_void;
    pub(super) fn rd_kafka_event_log(
        event: *mut Event,
        facility: *mut *const c_char,
        text: *mut *const c_char,
        level: *mut c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_event_message_next(event: *mut Event) -> *const Message;
    pub(super) fn rd_kafka_event_destroy(event: *mut Event);

    pub(super) fn rd_kafka_message_destroy(message: *mut Message);
    pub(super) fn rd_kafka_message_timestamp(message: *const Message, kind: *mut c_int) -> i64;
    pub(super) fn rd_kafka_message_headers(message: *const Message, headers: *mut *mut Headers) -> ErrorCode;
    pub(super) fn rd_kafka_header_get_all(
        headers: *const Headers,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_void,
        size: *mut usize,
    ) -> ErrorCode;

    pub(super) fn rd_kafka_headers_new(capacity: usize) -> *mut Headers;
    pub(super) fn rd_kafka_headers_destroy(headers: *mut Headers);
    pub(super) fn rd_kafka_header_add(
        headers: *mut Headers,
        name: *const c_char,
        name_size: isize,
        value: *const c_void,
        value_size: isize,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_producev(client: *mut Client, ...) -> ErrorCode;
    pub(super) fn rd_kafka_flush(client: *mut Client, timeout_ms: c_int) -> ErrorCode;
    pub(super) fn rd_kafka_purge(client: *mut Client, flags: c_int) -> ErrorCode;
    pub(super) fn rd_kafka_outq_len(client: *mut Client) -> c_int;
    #[cfg(test)]
    pub(super) fn rd_kafka_test_fatal_error(client: *mut Client, code: ErrorCode, reason: *const c_char) -> ErrorCode;

    pub(super) fn rd_kafka_topic_partition_list_new(size: c_int) -> *mut List;
    pub(super) fn rd_kafka_topic_partition_list_add(
        list: *mut List,
        topic: *const c_char,
        partition: i32,
    ) -> *mut Element;
    pub(super) fn rd_kafka_topic_partition_list_copy(list: *const List) -> *mut List;
    pub(super) fn rd_kafka_topic_partition_list_destroy(list: *mut List);

    pub(super) fn rd_kafka_subscribe(client: *mut Client, topics: *const List) -> ErrorCode;
    pub(super) fn rd_kafka_unsubscribe(client: *mut Client) -> ErrorCode;
    pub(super) fn rd_kafka_subscription(client: *mut Client, topics: *mut *mut List) -> ErrorCode;
    pub(super) fn rd_kafka_assignment(client: *mut Client, partitions: *mut *mut List) -> ErrorCode;
    pub(super) fn rd_kafka_assign(client: *mut Client, partitions: *const List) -> ErrorCode;
    pub(super) fn rd_kafka_incremental_assign(client: *mut Client, partitions: *const List) -> *mut NativeError;
    pub(super) fn rd_kafka_incremental_unassign(client: *mut Client, partitions: *const List) -> *mut NativeError;
    pub(super) fn rd_kafka_pause_partitions(client: *mut Client, partitions: *mut List) -> ErrorCode;
    pub(super) fn rd_kafka_resume_partitions(client: *mut Client, partitions: *mut List) -> ErrorCode;
    pub(super) fn rd_kafka_seek_partitions(
        client: *mut Client,
        partitions: *mut List,
        timeout_ms: c_int,
    ) -> *mut NativeError;
    pub(super) fn rd_kafka_assignment_lost(client: *mut Client) -> c_int;
    pub(super) fn rd_kafka_rebalance_protocol(client: *mut Client) -> *const c_char;
    pub(super) fn rd_kafka_committed(client: *mut Client, partitions: *mut List, timeout_ms: c_int) -> ErrorCode;
    pub(super) fn rd_kafka_offsets_for_times(client: *mut Client, offsets: *mut List, timeout_ms: c_int) -> ErrorCode;
    pub(super) fn rd_kafka_get_watermark_offsets(
        client: *mut Client,
        topic: *const c_char,
        partition: i32,
        low: *mut i64,
        high: *mut i64,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_query_watermark_offsets(
        client: *mut Client,
        topic: *const c_char,
        partition: i32,
        low: *mut i64,
        high: *mut i64,
        timeout_ms: c_int,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_commit_queue(
        client: *mut Client,
        offsets: *const List,
        queue: *mut NativeQueue,
        callback: Option<unsafe extern "C" fn()>,
        opaque: *mut c_void,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_consumer_close_queue(client: *mut Client, queue: *mut NativeQueue) -> *mut NativeError;
    pub(super) fn rd_kafka_consumer_closed(client: *mut Client) -> c_int;

    pub(super) fn rd_kafka_fatal_error(client: *mut Client, text: *mut c_char, size: usize) -> ErrorCode;
    pub(super) fn rd_kafka_clusterid(client: *mut Client, timeout_ms: c_int) -> *mut c_char;
    pub(super) fn rd_kafka_memberid(client: *const Client) -> *mut c_char;
    pub(super) fn rd_kafka_mem_free(client: *mut Client, pointer: *mut c_void);
    pub(super) fn rd_kafka_metadata(
        client: *mut Client,
        all_topics: c_int,
        only: *mut Topic,
        metadata: *mut *const Metadata,
        timeout_ms: c_int,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_metadata_destroy(metadata: *const Metadata);
    pub(super) fn rd_kafka_topic_new(client: *mut Client, topic: *const c_char, conf: *mut c_void) -> *mut Topic;
    pub(super) fn rd_kafka_topic_destroy(topic: *mut Topic);

    pub(super) fn rd_kafka_error_code(error: *const NativeError) -> ErrorCode;
    pub(super) fn rd_kafka_error_string(error: *const NativeError) -> *const c_char;
    pub(super) fn rd_kafka_error_destroy(error: *mut NativeError);
    pub(super) fn rd_kafka_err2str(code: ErrorCode) -> *const c_char;
    pub(super) fn rd_kafka_err2name(code: ErrorCode) -> *const c_char;
    pub(super) fn rd_kafka_consumer_group_metadata(client: *mut Client) -> *mut GroupMetadata;
    pub(super) fn rd_kafka_consumer_group_metadata_destroy(metadata: *mut GroupMetadata);
    pub(super) fn rd_kafka_consumer_group_metadata_write(
        metadata: *const GroupMetadata,
        buffer: *mut *mut c_void,
        size: *mut usize,
    ) -> *mut NativeError;

    pub(super) fn rd_kafka_AdminOptions_new(client: *mut Client, operation: c_int) -> *mut AdminOptions;
    pub(super) fn rd_kafka_AdminOptions_destroy(options: *mut AdminOptions);
    pub(super) fn rd_kafka_AdminOptions_set_request_timeout(
        options: *mut AdminOptions,
        timeout_ms: c_int,
        text: *mut c_char,
        size: usize,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_AdminOptions_set_isolation_level(
        options: *mut AdminOptions,
        isolation: c_int,
    ) -> *mut NativeError;
    pub(super) fn rd_kafka_AdminOptions_set_opaque(options: *mut AdminOptions, opaque: *mut c_void);
    pub(super) fn rd_kafka_ListOffsets(
        client: *mut Client,
        partitions: *mut List,
        options: *const AdminOptions,
        queue: *mut NativeQueue,
    );
    /// `rd_kafka_ListOffsets_result_t` is the event.
    pub(super) fn rd_kafka_event_ListOffsets_result(event: *mut Event) -> *const Event;
    pub(super) fn rd_kafka_ListOffsets_result_infos(result: *const Event, count: *mut usize) -> *mut *const OffsetInfo;
    pub(super) fn rd_kafka_ListOffsetsResultInfo_topic_partition(info: *const OffsetInfo) -> *const Element;
}
