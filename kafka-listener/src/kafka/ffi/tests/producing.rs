//! What is produced is stored byte for byte, and every record gets its answer.

use tokio::sync::oneshot::error::TryRecvError;

use super::super::producer::{Delivery, Enqueued, Outgoing, ProducerClient};
use super::*;
use crate::record::encode_header;

/// A producer whose records stay in its queue until they are flushed, and that finds out soon what it cannot send.
fn producer(cluster: &Cluster, properties: &[(&str, &str)]) -> Arc<ProducerClient> {
    let servers = cluster.bootstrap_servers();
    let base = [
        ("bootstrap.servers", servers.as_str()),
        ("enable.idempotence", "true"),
        ("allow.auto.create.topics", "false"),
        ("topic.metadata.propagation.max.ms", "100"),
        ("log_level", "3"),
    ];
    ProducerClient::new(base.iter().chain(properties).copied()).unwrap()
}

fn to_orders<'r>() -> Outgoing<'r> {
    let topic = TOPIC.to_str().unwrap();
    Outgoing { topic, partition: Some(0), key: None, payload: None, timestamp: None, headers: &[] }
}

/// Sends one record and serves the client until the answer is there.
fn send(client: &ProducerClient, record: &Outgoing<'_>) -> Delivery {
    let mut answered = match client.enqueue(record)? {
        Enqueued::Accepted(answered) => answered,
        Enqueued::Full => panic!("there is room"),
    };
    let deadline = Instant::now() + DEADLINE;
    loop {
        match answered.try_recv() {
            Ok(delivery) => return delivery,
            Err(TryRecvError::Empty) => assert!(Instant::now() < deadline, "no answer within {DEADLINE:?}"),
            Err(TryRecvError::Closed) => panic!("the answer was dropped"),
        }
        client.serve(TICK);
    }
}

#[test]
fn everything_is_stored_as_it_was_given_names_of_headers_included() {
    let cluster = Cluster::with_partitions(2);
    let client = producer(&cluster, &[]);
    let expected: [(&[u8], Option<&[u8]>); 5] = [
        (b"trace", Some(b"1")),
        (b"none", None),
        (b"trace", Some(b"")),
        (b"\xff\xfe", Some(b"\0\x80")),
        (b"", Some(b"no name")),
    ];
    let mut headers = Vec::new();
    for (name, value) in expected {
        encode_header(&mut headers, name, value);
    }
    let binary: Vec<u8> = (0..=255).collect();
    let parts: [Option<&[u8]>; 3] = [None, Some(b""), Some(&binary)];
    let mut offsets = 0..;
    for key in parts {
        for payload in parts {
            let record = Outgoing {
                partition: Some(1),
                key,
                payload,
                timestamp: Some(1_700_000_000_123),
                headers: &headers,
                ..to_orders()
            };
            assert_eq!(send(&client, &record), Ok((1, offsets.next().unwrap())));
        }
    }

    let (_client, waker, queue) = cluster.reader_at(1, 0);
    let read = take(&waker, &queue, 1, 9);
    let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
    for (index, record) in read.iter().enumerate() {
        assert_eq!((record.key.as_deref(), record.payload.as_deref()), (parts[index / 3], parts[index % 3]));
        assert_eq!((&record.headers, record.timestamp), (&expected, Timestamp::CreateTime(1_700_000_000_123)));
    }
}

#[test]
fn a_topic_that_is_not_there_is_not_created_and_the_record_is_refused() {
    let cluster = Cluster::with_partitions(1);
    let client = producer(&cluster, &[]);
    let refused = send(&client, &Outgoing { topic: "invoices", partition: None, ..to_orders() });
    assert!(matches!(refused.as_ref().map_err(|error| error.code), Err(-188 | 3)), "{refused:?}");
    assert_eq!(client.topic_state("invoices", DEADLINE), Ok(TopicState::Missing));
    assert_eq!(client.topic_state("orders", DEADLINE), Ok(TopicState::Exists { partitions: 1 }));
}

#[test]
fn a_record_that_is_too_large_is_refused_at_once() {
    let cluster = Cluster::with_partitions(1);
    let client = producer(&cluster, &[("message.max.bytes", "2000")]);
    let payload = vec![b'x'; 3000];
    let refused = client.enqueue(&Outgoing { payload: Some(&payload), ..to_orders() });
    assert_eq!(refused.map(drop).map_err(|error| error.code), Err(10));
}

#[test]
fn records_that_are_given_up_get_an_answer_too() {
    let cluster = Cluster::with_partitions(1);
    let client = producer(&cluster, &[("linger.ms", "100000")]);
    let Ok(Enqueued::Accepted(mut answered)) = client.enqueue(&to_orders()) else { panic!("there is room") };
    assert_eq!(client.outstanding(), 1);
    client.purge();
    let deadline = Instant::now() + DEADLINE;
    while client.outstanding() > 0 {
        assert!(Instant::now() < deadline, "no answer within {DEADLINE:?}");
        client.serve(TICK);
    }
    assert!(answered.try_recv().expect("the answer has come").is_err());
}
