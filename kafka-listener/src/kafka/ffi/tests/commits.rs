//! Commits and their answers.

use super::*;

const OFFSET_COMMIT: i16 = 8;

/// Waits for one answer: its serial, its code and the code of each partition.
fn answer(client: &Client) -> (u64, i32, Vec<Option<i32>>) {
    let answer = client.commit_answer(DEADLINE).expect("a commit is answered");
    (answer.serial, answer.code, answer.partitions.iter().map(|partition| partition.error).collect())
}

#[test]
fn every_commit_is_answered_under_its_serial_and_read_back() {
    let cluster = Cluster::with_partitions(3);
    let (client, _waker, _queue) = cluster.reader_at(0, 0);
    let serials = [41, 0, u64::from(u32::MAX) + 1];
    for (serial, offset) in serials.into_iter().zip(5..) {
        client.send_commit(serial, [(&orders(0), offset), (&orders(2), 0)]).unwrap();
    }
    let mut answered: Vec<_> = (0..3).map(|_| answer(&client)).collect();
    answered.sort_unstable();
    assert_eq!(answered, [0, 41, u64::from(u32::MAX) + 1].map(|serial| (serial, 0, vec![None, None])));

    let committed = client.committed(&[orders(0), orders(1), orders(2)], DEADLINE).unwrap();
    let offsets: Vec<_> = committed.iter().map(|partition| (partition.offset, partition.error)).collect();
    assert_eq!(offsets, [(Some(7), None), (None, None), (Some(0), None)]);
}

#[test]
fn an_answer_wakes_the_thread_that_waits_for_it() {
    let cluster = Cluster::with_partitions(1);
    let (client, waker, _queue) = cluster.reader_at(0, 0);
    client.has_commit_answer();
    client.send_commit(1, [(&orders(0), 1)]).unwrap();
    wait(&waker, DEADLINE, "the answer's callback", || client.has_commit_answer().then_some(()));
    assert_eq!(answer(&client), (1, 0, vec![None]));
}

/// The engine sends refused partitions once more, one by one, since an answer to several does not tell them apart.
#[test]
fn one_refused_partition_makes_the_answer_a_refusal_of_all() {
    const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
    let cluster = Cluster::with_partitions(1);
    let (client, _waker, _queue) = cluster.reader_at(0, 0);
    client.send_commit(1, [(&orders(0), 3), (&orders(9), 4)]).unwrap();
    let refused = Some(UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(answer(&client), (1, UNKNOWN_TOPIC_OR_PARTITION, vec![refused, refused]));
    assert_eq!(client.committed(&[orders(0)], DEADLINE).unwrap()[0].offset, Some(3));
}

#[test]
fn a_code_that_the_bindings_do_not_know_arrives_as_its_number() {
    let cluster = Cluster::with_partitions(1);
    let (client, _waker, _queue) = cluster.reader_at(0, 0);
    cluster.fail(OFFSET_COMMIT, &[9999]);
    client.send_commit(1, [(&orders(0), 3)]).unwrap();
    assert_eq!(answer(&client), (1, 9999, vec![Some(9999)]));
}
