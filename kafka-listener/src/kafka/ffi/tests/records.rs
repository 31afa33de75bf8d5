//! Records, byte for byte.

use super::*;

#[test]
fn key_and_payload_arrive_as_sent_and_null_is_not_empty() {
    let cluster = Cluster::with_partitions(1);
    let binary: Vec<u8> = (0..=255).collect();
    let large = vec![0xA5; 100_000];
    let parts: [Option<&[u8]>; 4] = [None, Some(b""), Some(&binary), Some(&large)];
    let pairs: Vec<_> = parts.iter().flat_map(|key| parts.iter().map(move |payload| (*key, *payload))).collect();
    for &(key, payload) in &pairs {
        cluster.send(0, &Sent { key, payload, ..Sent::default() });
    }
    cluster.flush();

    let (_client, waker, queue) = cluster.reader_at(0, 0);
    let read = take(&waker, &queue, 0, pairs.len());
    for ((record, (key, payload)), offset) in read.iter().zip(&pairs).zip(0..) {
        assert_eq!(record.offset, offset);
        assert!(record.key.as_deref() == *key && record.payload.as_deref() == *payload, "record {offset} differs");
        assert!(record.headers.is_empty(), "record {offset} has headers");
    }
}

#[test]
fn headers_arrive_in_order_with_null_values_repeated_and_odd_names() {
    let cluster = Cluster::with_partitions(1);
    let headers: [(&CStr, Option<&[u8]>); 6] = [
        (c"trace", Some(b"1")),
        (c"none", None),
        (c"empty", Some(b"")),
        (c"trace", Some(b"2")),
        (c"\xff\xfe", Some(b"\0\x80")),
        (c"", Some(b"no name")),
    ];
    cluster.send(0, &Sent { payload: Some(b"with"), headers: &headers, ..Sent::default() });
    cluster.send(0, &Sent { payload: Some(b"without"), ..Sent::default() });
    cluster.flush();

    let (_client, waker, queue) = cluster.reader_at(0, 0);
    let read = take(&waker, &queue, 0, 2);
    let sent: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_bytes().to_vec(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(read[0].headers, sent);
    assert_eq!((read[0].payload.as_deref(), read[1].payload.as_deref()), (Some(&b"with"[..]), Some(&b"without"[..])));
    assert_eq!(read[1].headers, []);
}

#[test]
fn headers_stay_behind_when_nobody_wants_them() {
    let cluster = Cluster::with_partitions(1);
    cluster.send(0, &Sent { payload: Some(b"p"), headers: &[(c"trace", Some(b"1"))], ..Sent::default() });
    cluster.flush();

    let (_client, waker, queue) = cluster.reader_at(0, 0);
    let mut scratch = Scratch::new(1, false);
    let drained = wait(&waker, DEADLINE, "the record", || queue.drain(&orders(0), &mut scratch, 1, 0));
    let read = Read::all(&drained.batch);
    assert_eq!((read[0].payload.as_deref(), read[0].headers.len()), (Some(&b"p"[..]), 0));
}

#[test]
fn the_time_of_a_record_is_the_producers() {
    let cluster = Cluster::with_partitions(1);
    let times = [1, 1_700_000_000_123, i64::from(u32::MAX) * 1000];
    for timestamp in times {
        cluster.send(0, &Sent { timestamp, ..Sent::default() });
    }
    cluster.flush();

    let (_client, waker, queue) = cluster.reader_at(0, 0);
    let read: Vec<_> = take(&waker, &queue, 0, 3).iter().map(|record| record.timestamp).collect();
    assert_eq!(read, times.map(Timestamp::CreateTime));
}

#[test]
fn a_drain_takes_no_more_than_its_limit_and_says_when_it_is_full() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..10);
    let (_client, waker, queue) = cluster.reader_at(0, 0);
    wait(&waker, TICK, "ten records", || (length(&queue) >= 10).then_some(()));

    let mut scratch = Scratch::new(4, false);
    let mut drain = |limit| {
        queue
            .drain(&orders(0), &mut scratch, limit, 0)
            .map(|drained| (drained.batch.records.iter().map(|record| record.offset).collect::<Vec<_>>(), drained.full))
    };
    assert_eq!(drain(3), Some((vec![0, 1, 2], true)));
    // The room of the scratch is a limit too.
    assert_eq!(drain(100), Some((vec![3, 4, 5, 6], true)));
    assert_eq!(drain(4), Some((vec![7, 8, 9], false)));
    assert_eq!(drain(4), None);
}
