//! A consumer in its group.

use super::*;

/// The protocols that differ in how a rebalance is answered.
const STRATEGIES: [(&str, bool); 2] = [("range", false), ("cooperative-sticky", true)];

#[test]
fn a_member_gets_its_partitions_and_reads_each_from_its_own_queue() {
    for (strategy, cooperative) in STRATEGIES {
        let cluster = Cluster::with_partitions(2);
        cluster.append(0, 0..20);
        cluster.append(1, 0..20);
        let Member { queues, client, waker } = Member::join(&cluster, &[("partition.assignment.strategy", strategy)]);
        assert_eq!(client.is_cooperative(), cooperative);
        assert_eq!(queues.len(), 2);
        for (partition, queue) in (0..).zip(&queues) {
            assert_eq!(offsets(&take(&waker, queue, partition, 20)), (0..20).collect::<Vec<_>>());
        }
        assert_no_stray(&client);
        drop(queues);
    }
}

#[test]
fn the_answer_to_an_assign_may_say_where_to_start() {
    for (strategy, cooperative) in STRATEGIES {
        let cluster = Cluster::with_partitions(2);
        cluster.append(0, 0..20);
        cluster.append(1, 0..20);
        let (client, waker) = cluster.reader(&[("partition.assignment.strategy", strategy)]);
        client.subscribe(["orders"]).unwrap();
        let (_, mut partitions) = next_rebalance(&client);
        let queues: Vec<_> = (0..2).map(|partition| client.split_queue(&orders(partition)).unwrap()).collect();
        partitions.start_at(|topic, partition| (topic == "orders" && partition == 1).then_some(15));
        client.assign(&partitions, cooperative).unwrap();
        client.resume(&partitions);
        assert_eq!(take(&waker, &queues[0], 0, 20).len(), 20);
        assert_eq!(offsets(&take(&waker, &queues[1], 1, 5)), (15..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_second_member_takes_partitions_over_and_the_first_is_told() {
    for (strategy, cooperative) in STRATEGIES {
        let cluster = Cluster::with_partitions(2);
        let properties = [("partition.assignment.strategy", strategy)];
        let mut first = Member::join(&cluster, &properties);
        let (second, _waker) = cluster.reader(&properties);
        second.subscribe(["orders"]).unwrap();

        let (kind, revoked) = next_rebalance(&first.client);
        assert_eq!(kind, RebalanceKind::Revoke);
        assert_eq!(revoked.to_vec().len(), if cooperative { 1 } else { 2 });
        assert!(!first.client.assignment_lost());
        first.queues.clear();
        first.client.unassign(&revoked, cooperative).unwrap();

        // Both are told their new share, at the same time or in a generation of its own.
        let deadline = Instant::now() + DEADLINE;
        let mut taken_over = Vec::new();
        while taken_over.is_empty() {
            assert!(Instant::now() < deadline, "the second member got nothing");
            if let Some(Event::Rebalance { kind: RebalanceKind::Assign, partitions }) = first.client.poll(TICK) {
                first.client.assign(&partitions, cooperative).unwrap();
            }
            if let Some(Event::Rebalance { kind: RebalanceKind::Assign, partitions }) = second.poll(TICK) {
                second.assign(&partitions, cooperative).unwrap();
                taken_over.extend(partitions.to_vec());
            }
        }
        assert!(revoked.to_vec().iter().any(|partition| taken_over.contains(partition)), "{taken_over:?}");
    }
}

#[test]
fn a_member_knows_its_id_and_its_generation() {
    let cluster = Cluster::with_partitions(1);
    let (client, _waker) = cluster.reader(&[]);
    assert_eq!((client.member_id(), client.generation()), (None, None));
    let member = Member::join(&cluster, &[]);
    assert!(member.client.member_id().is_some());
    assert!(member.client.generation().is_some());
}

#[test]
fn the_cluster_tells_its_id_its_topics_and_their_ends() {
    let cluster = Cluster::with_partitions(4);
    cluster.append(1, 0..6);
    let (client, waker, queue) = cluster.reader_at(1, 0);
    assert!(client.cluster_id(DEADLINE).is_some());
    assert_eq!(client.topic_state("orders", DEADLINE), Ok(TopicState::Exists { partitions: 4 }));
    assert_eq!(client.query_end(&orders(1), DEADLINE), Ok(6));
    assert_eq!(client.query_end(&orders(2), DEADLINE), Ok(0));
    assert_eq!(client.cached_watermarks(&orders(3)), None, "never fetched");
    take(&waker, &queue, 1, 6);
    assert_eq!(client.cached_watermarks(&orders(1)), Some((0, 6)));
}

#[test]
fn a_client_goes_on_in_another_thread() {
    let cluster = Cluster::with_partitions(1);
    cluster.append(0, 0..10);
    let Member { queues, client, waker } = Member::join(&cluster, &[]);
    let before = offsets(&take(&waker, &queues[0], 0, 10));
    let client = std::thread::spawn(move || {
        client.send_commit(3, [(&orders(0), 10)]).unwrap();
        assert_eq!(client.commit_answer(DEADLINE).map(|answer| (answer.serial, answer.code)), Some((3, 0)));
        let mut scratch = Scratch::new(64, true);
        let deadline = Instant::now() + DEADLINE;
        while queues[0].drain(&orders(0), &mut scratch, 64, 0).is_none() {
            assert!(Instant::now() < deadline, "no record in the other thread");
            client.poll(TICK);
        }
        drop(queues);
        client
    });
    cluster.append(0, 10..11);
    let client = client.join().unwrap();
    assert_eq!(before, (0..10).collect::<Vec<_>>());
    assert_eq!(client.committed(&[orders(0)], DEADLINE).unwrap()[0].offset, Some(10));
}
