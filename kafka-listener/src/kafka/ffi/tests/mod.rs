//! The border against librdkafka's mock cluster: what goes over it arrives whole, and nothing outlives its owner.
//!
//! Every wait is for a condition, woken by librdkafka where the engine is woken by it too.

mod closing;
mod commits;
mod groups;
mod patterns;
mod producing;
mod properties;
mod queues;
mod records;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;

use super::client::millis;
use super::{Client, Event, KafkaError, Queue, RebalanceKind, RebalancePartitions, Scratch, TopicState, owned};
use crate::extract::sample::Sample;
use crate::kafka::waker::Waker;
use crate::record::{RecordBatch, RecordContext, Timestamp, TopicPartition};

const DEADLINE: Duration = Duration::from_secs(30);

/// How long a wait sleeps at most for what wakes nobody.
const TICK: Duration = Duration::from_millis(20);

const TOPIC: &CStr = c"orders";

unsafe extern "C" {
    /// Once more with plain integers, so that codes can be sent that the bindings do not know.
    fn rd_kafka_mock_push_request_errors_array(
        cluster: *mut native::rd_kafka_mock_cluster_t,
        api_key: i16,
        count: usize,
        errors: *const c_int,
    );
}

/// A mock cluster with the topic `orders`, and the producer that it lives in: one without the wrapper of rdkafka, which
/// leaks a queue per client and would hide leaks of ours.
struct Cluster {
    producer: *mut native::rd_kafka_t,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: the producer is live and destroyed once, and its cluster with it.
        unsafe { native::rd_kafka_destroy(self.producer) }
    }
}

impl Cluster {
    fn with_partitions(count: i32) -> Self {
        let mut text = [0 as c_char; 512];
        // SAFETY: `text` has the length given; the producer takes the configuration; the mock cluster is part of it.
        unsafe {
            let conf = native::rd_kafka_conf_new();
            // It says at the default level that it is a mock.
            for (name, value) in [(c"test.mock.num.brokers", c"1"), (c"log_level", c"3")] {
                native::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), text.as_mut_ptr(), text.len());
            }
            let kind = native::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            let producer = native::rd_kafka_new(kind, conf, text.as_mut_ptr(), text.len());
            assert!(!producer.is_null(), "{:?}", owned(text.as_ptr()));
            let cluster = Self { producer };
            // The first join of a group is kept waiting for three seconds otherwise.
            native::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster.mock(), 0);
            let code = native::rd_kafka_mock_topic_create(cluster.mock(), TOPIC.as_ptr(), count, 1);
            assert_eq!(code as i32, 0);
            cluster
        }
    }

    fn mock(&self) -> *mut native::rd_kafka_mock_cluster_t {
        // SAFETY: the producer is live.
        unsafe { native::rd_kafka_handle_mock_cluster(self.producer) }
    }

    fn bootstrap_servers(&self) -> String {
        // SAFETY: the cluster is live and the string is its own.
        unsafe { CStr::from_ptr(native::rd_kafka_mock_cluster_bootstraps(self.mock())) }.to_str().unwrap().to_owned()
    }

    /// Answers the next requests of a kind with these codes.
    fn fail(&self, api_key: i16, codes: &[c_int]) {
        // SAFETY: the cluster is live and copies the array.
        unsafe { rd_kafka_mock_push_request_errors_array(self.mock(), api_key, codes.len(), codes.as_ptr()) }
    }

    /// Sends one record. It is in the log after [`Cluster::flush`].
    fn send(&self, partition: i32, record: &Sent<'_>) {
        let bytes =
            |part: Option<&[u8]>| part.map_or((std::ptr::null::<c_void>(), 0), |p| (p.as_ptr().cast(), p.len()));
        let ((key, key_len), (payload, payload_len)) = (bytes(record.key), bytes(record.payload));
        // SAFETY: every argument has the type that its tag asks for; the call copies key and payload and takes the
        // headers over.
        let code = unsafe {
            let headers = native::rd_kafka_headers_new(record.headers.len());
            for (name, value) in record.headers {
                let (value, len) = bytes(*value);
                let added = native::rd_kafka_header_add(headers, name.as_ptr(), -1, value, len.cast_signed());
                assert_eq!(added as i32, 0);
            }
            native::rd_kafka_producev(
                self.producer,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
                TOPIC.as_ptr(),
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                partition,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                native::RD_KAFKA_MSG_F_COPY,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                payload,
                payload_len,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        assert_eq!(code as i32, 0);
    }

    fn flush(&self) {
        // SAFETY: the producer is live.
        let code = unsafe { native::rd_kafka_flush(self.producer, millis(DEADLINE)) };
        assert_eq!(code as i32, 0);
    }

    /// Appends records whose payloads are their numbers.
    fn append(&self, partition: i32, numbers: std::ops::Range<i64>) {
        for number in numbers {
            self.send(partition, &Sent { payload: Some(number.to_string().as_bytes()), ..Sent::default() });
        }
        self.flush();
    }

    /// A consumer of the group `readers`, and the waker of the calling thread that its queues use.
    fn reader(&self, properties: &[(&str, &str)]) -> (Client, Arc<Waker>) {
        let servers = self.bootstrap_servers();
        let base = [
            ("bootstrap.servers", servers.as_str()),
            ("group.id", "readers"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("fetch.wait.max.ms", "20"),
            // The mock waits for nearly that long in every rebalance but the first.
            ("session.timeout.ms", "4000"),
            ("heartbeat.interval.ms", "200"),
        ];
        let waker = Arc::new(Waker::default());
        waker.attach();
        let client = Client::new(base.iter().chain(properties).copied(), &waker).unwrap();
        (client, waker)
    }

    /// A consumer of its own that reads one partition from an offset, without joining the group.
    fn reader_at(&self, partition: i32, offset: i64) -> (Client, Arc<Waker>, Queue) {
        let (client, waker) = self.reader(&[]);
        let queue = client.split_queue(&orders(partition)).unwrap();
        read_from(&client, partition, offset);
        (client, waker, queue)
    }
}

/// A record to be written.
#[derive(Default)]
struct Sent<'r> {
    key: Option<&'r [u8]>,
    payload: Option<&'r [u8]>,
    headers: &'r [(&'r CStr, Option<&'r [u8]>)],
    /// In milliseconds; 0 is now.
    timestamp: i64,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    offset: i64,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Read {
    fn of(record: RecordContext<'_>) -> Self {
        Self {
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(<[u8]>::to_vec),
            payload: record.payload().map(<[u8]>::to_vec),
            headers: record.headers().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        }
    }

    fn all(batch: &RecordBatch) -> Vec<Self> {
        let sample = Sample::new();
        (0..batch.records.len()).map(|index| sample.lend(batch, index, Self::of)).collect()
    }
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC.to_str().unwrap(), partition)
}

/// Assigns one partition and nothing else, from outside of any group.
fn read_from(client: &Client, partition: i32, offset: i64) {
    let partition = orders(partition);
    client.restart(&partition, offset, [(&partition, Some(offset))]).unwrap();
}

/// Waits until `look` finds something; `limit` bounds each sleep.
fn wait<T>(waker: &Waker, limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        waker.clear();
        if let Some(found) = look() {
            return found;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{what} did not come within {DEADLINE:?}");
        waker.park(left.min(limit));
    }
}

/// Takes exactly `count` records, sleeping until the queue's own callback wakes the thread.
fn take(waker: &Waker, queue: &Queue, partition: i32, count: usize) -> Vec<Read> {
    let mut scratch = Scratch::new(64, true);
    let mut taken = Vec::new();
    wait(waker, DEADLINE, "a record", || {
        while let Some(drained) = queue.drain(&orders(partition), &mut scratch, 64, 0) {
            assert_eq!(drained.error, None);
            taken.extend(Read::all(&drained.batch));
        }
        (taken.len() >= count).then_some(())
    });
    assert_eq!(taken.len(), count, "{taken:?}");
    taken
}

fn offsets(records: &[Read]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

/// Messages of any kind in a queue, stale ones included.
fn length(queue: &Queue) -> usize {
    // SAFETY: the queue is live; both declarations name the same struct of C.
    unsafe { native::rd_kafka_queue_length(queue.as_ptr().cast()) }
}

/// Waits for the next rebalance, and passes over news of other kinds, of which none may be a stray record.
fn next_rebalance(client: &Client) -> (RebalanceKind, RebalancePartitions) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match client.poll(TICK) {
            Some(Event::Rebalance { kind, partitions }) => return (kind, partitions),
            Some(event @ (Event::StrayRecord { .. } | Event::Fatal(_))) => panic!("{event:?}"),
            _ => assert!(Instant::now() < deadline, "no rebalance within {DEADLINE:?}"),
        }
    }
}

/// Serves the main queue until it is empty: no record of any partition may have come there.
#[track_caller]
fn assert_no_stray(client: &Client) {
    while let Some(event) = client.poll(Duration::ZERO) {
        assert!(!matches!(event, Event::StrayRecord { .. }), "{event:?}");
    }
}

/// A group's consumer that has its partitions, each with a queue of its own. The queues go before the client.
struct Member {
    queues: Vec<Queue>,
    client: Client,
    waker: Arc<Waker>,
}

impl Member {
    fn join(cluster: &Cluster, properties: &[(&str, &str)]) -> Self {
        let (client, waker) = cluster.reader(properties);
        client.subscribe([TOPIC.to_str().unwrap()]).unwrap();
        let (kind, partitions) = next_rebalance(&client);
        assert_eq!(kind, RebalanceKind::Assign);
        let queues = partitions.to_vec().iter().map(|partition| client.split_queue(partition).unwrap()).collect();
        client.assign(&partitions, client.is_cooperative()).unwrap();
        Self { queues, client, waker }
    }
}
