//! The partitions' own queues: split before the assign, woken by, moved by a seek, given back.

use super::*;

#[test]
fn no_record_reaches_the_main_queue_when_the_partitions_are_split_before_the_assign() {
    let cluster = Cluster::with_partitions(3);
    for partition in 0..3 {
        cluster.append(partition, 0..50);
    }
    let (client, waker) = cluster.reader(&[]);
    let queues: Vec<_> = (0..3).map(|partition| client.split_queue(&orders(partition)).unwrap()).collect();
    let partitions: Vec<_> = (0..3).map(orders).collect();
    client.restart(&partitions[0], 0, partitions.iter().map(|partition| (partition, Some(0)))).unwrap();

    for (partition, queue) in (0..).zip(&queues) {
        assert_eq!(offsets(&take(&waker, queue, partition, 50)), (0..50).collect::<Vec<_>>());
    }
    assert_no_stray(&client);
}

#[test]
fn a_record_of_a_partition_that_was_not_split_is_reported_as_stray() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..1);
    let (client, waker) = cluster.reader(&[]);
    read_from(&client, 0, 0);
    let stray = wait(&waker, TICK, "the stray record", || match client.poll(Duration::ZERO) {
        Some(Event::StrayRecord { partition, offset }) => Some((partition, offset)),
        _ => None,
    });
    assert_eq!(stray, (0, 0));
}

#[test]
fn a_queue_that_is_split_again_after_an_unassign_delivers_again() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..5);
    let (client, waker, first) = cluster.reader_at(0, 0);
    assert_eq!(take(&waker, &first, 0, 5).len(), 5);
    let nothing: [(&TopicPartition, Option<i64>); 0] = [];
    client.restart(&orders(0), 0, nothing).unwrap();
    drop(first);

    let second = client.split_queue(&orders(0)).unwrap();
    read_from(&client, 0, 2);
    assert_eq!(offsets(&take(&waker, &second, 0, 3)), [2, 3, 4]);
    // And it is this handle that is woken now.
    cluster.append(0, 5..6);
    assert_eq!(offsets(&take(&waker, &second, 0, 1)), [5]);
    assert_no_stray(&client);
}

/// librdkafka stops reading where no committed offset and no policy says from where on.
#[test]
fn a_partition_that_cannot_be_sought_is_read_again_after_a_restart() {
    for strategy in ["range", "cooperative-sticky"] {
        let cluster = Cluster::with_partitions(1);
        cluster.append(0, 0..5);
        let properties = [("partition.assignment.strategy", strategy), ("auto.offset.reset", "error")];
        let Member { queues, client, waker } = Member::join(&cluster, &properties);
        let mut scratch = Scratch::new(64, false);
        wait(&waker, TICK, "the end of reading", || {
            queues[0].drain(&orders(0), &mut scratch, 64, 0).and_then(|drained| drained.error)
        });
        client.seek(&orders(0), 2, DEADLINE).unwrap_err();

        client.restart(&orders(0), 2, [(&orders(0), Some(2))]).unwrap();
        assert_eq!(offsets(&take(&waker, &queues[0], 0, 3)), [2, 3, 4]);
        assert_no_stray(&client);
    }
}

#[test]
fn what_an_unassign_leaves_in_a_queue_is_freed_by_discarding_it() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..100);
    let (client, waker, queue) = cluster.reader_at(0, 0);
    wait(&waker, TICK, "a hundred records", || (length(&queue) >= 100).then_some(()));
    let nothing: [(&TopicPartition, Option<i64>); 0] = [];
    client.restart(&orders(0), 0, nothing).unwrap();

    assert!(length(&queue) >= 100, "librdkafka keeps what is stale until somebody looks");
    queue.discard(&mut Scratch::new(7, true));
    assert_eq!(length(&queue), 0);
    assert!(queue.drain(&orders(0), &mut Scratch::new(7, true), 7, 0).is_none());
}

#[test]
fn discarding_takes_everything_from_a_live_queue() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..100);
    let (_client, waker, queue) = cluster.reader_at(0, 0);
    wait(&waker, TICK, "a hundred records", || (length(&queue) >= 100).then_some(()));
    // A whole number of scratches, and not one.
    for (capacity, last) in [(10, 200), (7, 300)] {
        queue.discard(&mut Scratch::new(capacity, true));
        assert_eq!(length(&queue), 0);
        cluster.append(0, last - 100..last);
        wait(&waker, TICK, "a hundred more", || (length(&queue) >= 100).then_some(()));
    }
    assert_eq!(offsets(&take(&waker, &queue, 0, 100)), (200..300).collect::<Vec<_>>());
}

#[test]
fn a_seek_drops_what_was_queued_and_reading_goes_on_at_its_target() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..100);
    let (client, waker, queue) = cluster.reader_at(0, 0);
    wait(&waker, TICK, "a hundred records", || (length(&queue) >= 100).then_some(()));

    for target in [90, 3, 99] {
        client.seek(&orders(0), target, DEADLINE).unwrap();
        let rest: Vec<_> = (target..100).collect();
        assert_eq!(offsets(&take(&waker, &queue, 0, rest.len())), rest);
    }
    assert_no_stray(&client);
}

#[test]
fn a_seek_of_a_partition_that_is_not_assigned_is_refused() {
    let cluster = Cluster::with_partitions(1);
    let (client, _waker) = cluster.reader(&[]);
    assert_ne!(client.seek(&orders(0), 0, DEADLINE).unwrap_err().code, 0);
}

#[test]
fn an_offset_that_is_gone_is_an_error_behind_which_nothing_is_handed_on() {
    const AUTO_OFFSET_RESET: i32 = -140;
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..3);
    let (client, waker) = cluster.reader(&[("auto.offset.reset", "error")]);
    let queue = client.split_queue(&orders(0)).unwrap();
    read_from(&client, 0, 1000);
    let mut scratch = Scratch::new(8, false);
    let drained = wait(&waker, DEADLINE, "the error", || queue.drain(&orders(0), &mut scratch, 8, 0));
    let error = drained.error.unwrap();
    assert_eq!((error.error.code, error.offset), (AUTO_OFFSET_RESET, 1000), "{error:?}");
    assert!(error.error.text.ends_with("(_AUTO_OFFSET_RESET)"), "{error:?}");
    assert!(drained.batch.records.is_empty());
}

/// The callback points into the handle's `Ready`: after the drop it must not be called, whatever arrives meanwhile.
#[test]
fn a_handle_can_be_dropped_at_any_time_while_records_arrive() {
    let cluster = Cluster::with_partitions(1);
    let (client, waker) = cluster.reader(&[]);
    let partition = orders(0);
    read_from(&client, 0, 0);
    let mut scratch = Scratch::new(64, false);
    let mut woken = 0;
    for number in 0..1000 {
        let queue = client.split_queue(&partition).unwrap();
        let ready = Arc::clone(queue.ready());
        assert!(ready.take(), "a new handle is looked at once");
        // Now and then the record is waited for, so that drops happen before, while and after one arrives. The callback
        // tells of a queue that was empty.
        let waits = number % 4 == 0;
        if waits {
            queue.discard(&mut scratch);
        }
        cluster.send(0, &Sent { payload: Some(b"p"), ..Sent::default() });
        if waits {
            wait(&waker, DEADLINE, "the queue's callback", || ready.take().then_some(()));
            woken += 1;
        }
        drop(queue);
        assert_eq!(Arc::strong_count(&ready), 1, "nobody else may hold it");
    }
    cluster.flush();
    assert_eq!(woken, 250);
}
