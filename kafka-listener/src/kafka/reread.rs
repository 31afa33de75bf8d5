//! Reads the headers of single records once more.
//!
//! A listener whose parameters look at no header leaves them in librdkafka, where taking them out costs two allocations
//! per record. The few records that are published again need theirs: they are read back from the broker, by a client that
//! is in no group, on a thread that comes with the first such record and goes when there has been none for a while.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio::sync::oneshot;

use super::ffi::{Client, Drained, Event, KafkaError, Queue, Scratch};
use super::supervise::code;
use super::waker::Waker;
use crate::clock::Instant;
use crate::config::ListenerSettings;
use crate::offset_tracker::next_offset_after;
use crate::record::TopicPartition;

/// How long the thread and its client are kept for the next record.
const IDLE: Duration = Duration::from_secs(30);
/// How long one record is looked for.
const LIMIT: Duration = Duration::from_secs(10);
/// A record this far behind the last one is read on to; one further away is sought.
const NEAR: i64 = 1_000;
/// Partitions that may ask at the same time; each asks for one record.
const WAITING: usize = 1_024;

/// Reads headers for the partitions of one listener, one record at a time.
#[derive(Debug)]
pub(crate) struct Rereader {
    settings: Arc<ListenerSettings>,
    requests: Mutex<Option<SyncSender<Request>>>,
}

/// What was found at the place of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reread {
    /// The record's headers, as `encode_header` writes them.
    Headers(Bytes),
    /// The log has no such record any more: retention or compaction took it.
    Gone,
}

#[derive(Debug)]
struct Request {
    topic_partition: TopicPartition,
    offset: i64,
    answer: oneshot::Sender<Result<Reread, String>>,
}

impl Rereader {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: Arc<ListenerSettings>) -> Self {
        Self { settings, requests: Mutex::default() }
    }

    /// Reads the headers of one record. Takes [`LIMIT`] per record that is asked for at the same time, at most.
    pub(crate) async fn headers(&self, topic_partition: &TopicPartition, offset: i64) -> Result<Reread, String> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request { topic_partition: topic_partition.clone(), offset, answer })?;
        answered.await.unwrap_or_else(|_| Err("the thread that reads headers has ended".to_owned()))
    }

    fn ask(&self, request: Request) -> Result<(), String> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match requests.as_ref() {
            None => request,
            Some(thread) => match thread.try_send(request) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err("too many records wait for their headers".to_owned()),
                // It went because it had nothing to do.
                Err(TrySendError::Disconnected(request)) => request,
            },
        };
        let (sender, inbox) = sync_channel(WAITING);
        sender.try_send(request).map_err(|_| "a new channel has room".to_owned())?;
        let settings = Arc::clone(&self.settings);
        let spawned = thread::Builder::new().name("kafka-reread".to_owned()).spawn(move || serve(&settings, &inbox));
        spawned.map_err(|error| format!("no thread to read headers on: {error}"))?;
        *requests = Some(sender);
        Ok(())
    }
}

/// The thread's life.
fn serve(settings: &ListenerSettings, inbox: &Receiver<Request>) {
    let mut reader = None;
    loop {
        let request = match inbox.recv_timeout(IDLE) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        };
        let Request { topic_partition, offset, answer } = request;
        if answer.is_closed() {
            continue;
        }
        let read = match &mut reader {
            Some(reader) => Ok(reader),
            None => Reader::new(settings).map(|fresh| reader.insert(fresh)),
        };
        let found = read.and_then(|reader| reader.read(&topic_partition, offset));
        if found.is_err() {
            // Whatever is the matter with the client, the next record gets a new one.
            reader = None;
        }
        // The partition may have been taken away meanwhile.
        answer.send(found.map_err(|error| format!("read the headers of `{topic_partition}@{offset}`: {error}"))).ok();
    }
}

/// A client that reads one partition from a place in its log. The partition goes before its client.
struct Reader {
    at: Option<At>,
    client: Client,
    waker: Arc<Waker>,
    scratch: Scratch,
}

struct At {
    topic_partition: TopicPartition,
    queue: Queue,
    /// The offset that comes next.
    next: i64,
    /// Headers of records that came in the same drain and were not asked for yet.
    ahead: VecDeque<(i64, Bytes)>,
}

impl Reader {
    fn new(settings: &ListenerSettings) -> Result<Self, KafkaError> {
        const DRAIN: usize = 100;
        /// Of a record that was handed over before, nothing has to be waited for; what lies behind it is not needed.
        const OWN: [(&str, &str); 5] = [
            ("isolation.level", "read_uncommitted"),
            ("auto.offset.reset", "error"),
            ("queued.max.messages.kbytes", "1024"),
            ("queued.min.messages", "100"),
            ("fetch.min.bytes", "1"),
        ];
        /// What makes a member of a group, which this client never is.
        const OF_MEMBERS: [&str; 7] = [
            "group.instance.id",
            "group.protocol",
            "group.remote.assignor",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
            "partition.assignment.strategy",
            "session.timeout.ms",
        ];
        let waker = Arc::new(Waker::default());
        waker.attach();
        let client_id = format!("{}-headers", settings.client_id);
        let configured = settings.client_properties.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        let configured = configured.filter(|(name, _)| !OF_MEMBERS.contains(name));
        let client = Client::new(configured.chain(OWN).chain([("client.id", client_id.as_str())]), &waker)?;
        Ok(Self { at: None, client, waker, scratch: Scratch::new(DRAIN, true) })
    }

    fn read(&mut self, topic_partition: &TopicPartition, offset: i64) -> Result<Reread, KafkaError> {
        let mut at = match self.at.take() {
            Some(at) if at.topic_partition == *topic_partition && at.is_near(offset) => at,
            other => {
                // Handles of one queue share a callback, so an old one must not outlive the next split.
                drop(other);
                self.seek(topic_partition, offset)?
            }
        };
        let until = Instant::now() + LIMIT;
        loop {
            self.waker.clear();
            if let Some(found) = at.take(offset) {
                self.at = Some(at);
                return Ok(found);
            }
            while let Some(event) = self.client.poll(Duration::ZERO) {
                if let Event::Fatal(error) = event {
                    return Err(error);
                }
            }
            let limit = self.scratch.capacity();
            match at.queue.drain(topic_partition, &mut self.scratch, limit, 0) {
                Some(drained) => {
                    if at.note(drained)? {
                        return Ok(Reread::Gone);
                    }
                }
                None if Instant::now() >= until => {
                    return Err(KafkaError { code: 0, text: format!("no answer within {LIMIT:?}") });
                }
                None => self.waker.park(Duration::from_millis(50)),
            }
        }
    }

    fn seek(&self, topic_partition: &TopicPartition, offset: i64) -> Result<At, KafkaError> {
        let queue = self.client.split_queue(topic_partition)?;
        self.client.restart(topic_partition, offset, [(topic_partition, Some(offset))])?;
        Ok(At { topic_partition: topic_partition.clone(), queue, next: offset, ahead: VecDeque::new() })
    }
}

impl At {
    fn is_near(&self, offset: i64) -> bool {
        let next = self.ahead.front().map_or(self.next, |(offset, _)| *offset);
        (next..next + NEAR).contains(&offset)
    }

    /// What is known of the record at `offset`; `None` while it has not come.
    fn take(&mut self, offset: i64) -> Option<Reread> {
        while let Some((found, headers)) = self.ahead.front() {
            if *found == offset {
                return Some(Reread::Headers(headers.clone()));
            }
            if *found > offset {
                return Some(Reread::Gone);
            }
            self.ahead.pop_front();
        }
        (self.next > offset).then_some(Reread::Gone)
    }

    /// Keeps the headers of what was drained. `true`: the log does not reach to the place that was asked for any more.
    fn note(&mut self, drained: Drained) -> Result<bool, KafkaError> {
        for record in &drained.batch.records {
            self.next = next_offset_after(record.offset).get();
            self.ahead.push_back((record.offset, drained.batch.headers_of(record)));
        }
        match drained.error {
            Some(error) if error.error.code == code::AUTO_OFFSET_RESET => Ok(true),
            Some(error) => Err(error.error),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "toml", feature = "json"))]
mod tests {
    use rdkafka::config::ClientConfig;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::*;
    use crate::record::HeaderIter;

    /// A listener's settings as far as they are read here.
    fn settings(servers: &str) -> Arc<ListenerSettings> {
        let settings = crate::config::settings_of_one_listener(&[("kafka.bootstrap_servers", servers)]);
        Arc::new(settings)
    }

    fn headers(reread: &Reread) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let Reread::Headers(encoded) = reread else { panic!("{reread:?}") };
        HeaderIter::new(encoded).map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
    }

    #[tokio::test]
    async fn headers_are_read_of_any_record_in_any_order() {
        const COUNT: i64 = 300;
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 2, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        for partition in 0..2 {
            for number in 0..COUNT {
                let value = format!("{partition}-{number}");
                let headers = OwnedHeaders::new().insert(Header { key: "number", value: Some(value.as_bytes()) });
                let headers = headers.insert(Header::<&[u8]> { key: "none", value: None });
                let record = BaseRecord::<(), str>::to("orders").partition(partition).payload("p").headers(headers);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();

        let rereader = Rereader::new(settings(&servers));
        for (partition, number) in [(0, 7), (0, 8), (0, 8), (0, 200), (1, 299), (1, 0), (0, 7)] {
            let found = rereader.headers(&TopicPartition::new("orders", partition), number).await.unwrap();
            let number = format!("{partition}-{number}").into_bytes();
            assert_eq!(headers(&found), [(b"number".to_vec(), Some(number)), (b"none".to_vec(), None)]);
        }
        let beyond = rereader.headers(&TopicPartition::new("orders", 0), COUNT + 10).await;
        assert!(matches!(beyond, Ok(Reread::Gone) | Err(_)), "{beyond:?}");
        let found = rereader.headers(&TopicPartition::new("orders", 1), 5).await.unwrap();
        assert_eq!(headers(&found)[0].1.as_deref(), Some(&b"1-5"[..]), "an error is not the end of it");
    }
}
