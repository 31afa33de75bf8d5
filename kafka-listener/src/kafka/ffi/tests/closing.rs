//! How a client ends: in good order, or at once.

use std::sync::mpsc::sync_channel;
use std::thread;

use super::*;

/// Far above what a close takes, and above the patience of a drop.
const BOUND: Duration = Duration::from_secs(20);

/// Runs `end` in a thread of its own and waits for it no longer than the bound.
#[track_caller]
fn ends_in_time(end: impl FnOnce() + Send + 'static) {
    let (done, ended) = sync_channel(1);
    let thread = thread::spawn(move || {
        end();
        done.send(()).unwrap();
    });
    ended.recv_timeout(BOUND).expect("it ends in time");
    thread.join().unwrap();
}

#[test]
fn a_close_asks_for_the_partitions_back_and_then_ends() {
    for strategy in ["range", "cooperative-sticky"] {
        let cluster = Cluster::with_partitions(2);
        let properties = [("partition.assignment.strategy", strategy)];
        let Member { queues, client, waker } = Member::join(&cluster, &properties);
        assert!(!client.is_closed());

        let began = Instant::now();
        client.begin_close().unwrap();
        let (kind, revoked) = next_rebalance(&client);
        assert_eq!((kind, revoked.to_vec().len()), (RebalanceKind::Revoke, 2));
        assert!(!client.is_closed(), "the revoke is not answered yet");
        drop(queues);
        client.unassign(&revoked, client.is_cooperative()).unwrap();
        wait(&waker, TICK, "the end of the close", || {
            client.poll(Duration::ZERO);
            client.is_closed().then_some(())
        });
        assert!(began.elapsed() < BOUND, "took {:?}", began.elapsed());
    }
}

#[test]
fn an_assignment_that_is_declined_does_not_hold_up_the_close() {
    for strategy in ["range", "cooperative-sticky"] {
        let cluster = Cluster::with_partitions(2);
        let (client, waker) = cluster.reader(&[("partition.assignment.strategy", strategy)]);
        client.subscribe(["orders"]).unwrap();
        let (kind, assigned) = next_rebalance(&client);
        assert_eq!(kind, RebalanceKind::Assign);
        client.decline(kind, &assigned, client.is_cooperative()).unwrap();
        closes_although_it_declines(&client, &waker);
    }
}

#[test]
fn a_revoke_that_is_declined_goes_all_the_same() {
    for strategy in ["range", "cooperative-sticky"] {
        let cluster = Cluster::with_partitions(2);
        let properties = [("partition.assignment.strategy", strategy)];
        let Member { queues, client, waker } = Member::join(&cluster, &properties);
        drop(queues);
        closes_although_it_declines(&client, &waker);
    }
}

#[track_caller]
fn closes_although_it_declines(client: &Client, waker: &Arc<Waker>) {
    client.begin_close().unwrap();
    wait(waker, TICK, "the end of the close", || {
        if let Some(Event::Rebalance { kind, partitions }) = client.poll(Duration::ZERO) {
            client.decline(kind, &partitions, client.is_cooperative()).unwrap();
        }
        client.is_closed().then_some(())
    });
}

#[test]
fn a_client_that_never_joined_closes_without_a_revoke() {
    let cluster = Cluster::with_partitions(1);
    let (client, waker) = cluster.reader(&[]);
    client.begin_close().unwrap();
    wait(&waker, TICK, "the end of the close", || {
        assert!(!matches!(client.poll(Duration::ZERO), Some(Event::Rebalance { .. })));
        client.is_closed().then_some(())
    });
}

#[test]
fn a_second_close_is_an_error_and_not_a_wait() {
    let cluster = Cluster::with_partitions(1);
    let (client, waker) = cluster.reader(&[]);
    client.begin_close().unwrap();
    wait(&waker, TICK, "the end of the close", || {
        client.poll(Duration::ZERO);
        client.is_closed().then_some(())
    });
    assert_ne!(client.begin_close().unwrap_err().text, "");
}

#[test]
fn dropping_a_member_that_reads_does_not_hang() {
    let cluster = Cluster::with_partitions(2);
    cluster.append(0, 0..100);
    let Member { queues, client, waker } = Member::join(&cluster, &[]);
    wait(&waker, TICK, "records in the queue", || queues.iter().any(|queue| length(queue) > 0).then_some(()));
    ends_in_time(move || drop((queues, client)));
}

#[test]
fn dropping_a_client_whose_rebalance_was_not_answered_does_not_hang() {
    let cluster = Cluster::with_partitions(1);
    let (client, _waker) = cluster.reader(&[]);
    client.subscribe(["orders"]).unwrap();
    let (_, partitions) = next_rebalance(&client);
    ends_in_time(move || drop((partitions, client)));
}

#[test]
fn dropping_a_client_in_the_middle_of_its_close_does_not_hang() {
    let cluster = Cluster::with_partitions(1);
    let Member { queues, client, .. } = Member::join(&cluster, &[]);
    client.begin_close().unwrap();
    let (_, revoked) = next_rebalance(&client);
    ends_in_time(move || drop((revoked, queues, client)));
}

#[test]
fn dropping_a_client_right_after_its_close_has_begun_does_not_hang() {
    for strategy in ["range", "cooperative-sticky"] {
        let cluster = Cluster::with_partitions(1);
        let Member { queues, client, .. } = Member::join(&cluster, &[("partition.assignment.strategy", strategy)]);
        client.begin_close().unwrap();
        ends_in_time(move || drop((queues, client)));
    }
}

/// A commit that waits for its coordinator holds the close up, for the session's timeout.
#[test]
fn dropping_a_client_whose_cluster_is_gone_does_not_hang() {
    let cluster = Cluster::with_partitions(1);
    let (client, _waker) = cluster.reader(&[("session.timeout.ms", "1000")]);
    let queue = client.split_queue(&orders(0)).unwrap();
    read_from(&client, 0, 0);
    client.send_commit(1, [(&orders(0), 1)]).unwrap();
    drop(cluster);
    client.send_commit(2, [(&orders(0), 2)]).unwrap();
    ends_in_time(move || drop((queue, client)));
}
