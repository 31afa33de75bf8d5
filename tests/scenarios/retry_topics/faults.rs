//! What befalls records that wait: members that go, come and die, topics that are missing, time that is long.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_longer_than_max_poll_interval_costs_no_rebalance_and_a_stop_ends_it_at_once() {
    let case = Case::with_delays(1, [9_000, 600_000]).await;
    let builder = case.builder().set("listeners.put-off.retry_topics.delays", "9s,10m");
    let builder = builder.set("listener.max_poll_interval", "7s").set("listener.revoke_timeout", "3s");
    let listeners = builder.start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    broker().produce_all([case.record(0, 2), case.record(1, 0)]).await.unwrap();
    status(&listeners, "it waits", |status| is_in(status, Phase::WaitingUntilDue)).await;
    let waiting = listeners.status().listeners[0].rebalances;
    case.ledger.wait("it is tried again", |all| all.iter().any(|one| one.topic == case.first)).await;
    status(&listeners, "it waits again", |status| status.put_off == 2 && is_in(status, Phase::WaitingUntilDue)).await;
    let found = listeners.status().listeners.remove(0);
    assert_eq!(found.rebalances, waiting, "{found}");
    let health = listeners.health();
    assert!(health.live.ok && health.ready.ok, "{health:?}");

    let began = Instant::now();
    let report = listeners.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    report.into_result().unwrap();
    let committed = broker().committed(&case.retry_group(), &case.second).await.unwrap();
    assert!(committed.values().all(|offset| *offset == 0), "it waits for whoever comes next: {committed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_records_are_tried_once_when_another_member_takes_their_partition_over() {
    let case = Case::with_one_topic(4).await;
    let builder = || case.builder().set("listeners.put-off.retry_topics.delays", "6s,6s");
    let first = builder().start().await.unwrap();
    first.wait_until_assigned(SOON).await.unwrap();
    broker().produce_all((0..40).map(|number| case.record(number, 1))).await.unwrap();
    status(&first, "all wait", |status| status.put_off == 40).await;

    let began = Instant::now();
    let second = builder().start().await.unwrap();
    second.wait_until_assigned(SOON).await.unwrap();
    let owned = |listeners: &ListenerRegistry| {
        let status = listeners.status().listeners.remove(0);
        status.partitions.iter().filter(|one| one.topic_partition.topic() == case.first).count()
    };
    let shared = || async {
        ensure!(owned(&first) == 2 && owned(&second) == 2, "{} and {}", owned(&first), owned(&second));
        Ok(())
    };
    eventually(SOON, "they share the retry topic", shared).await.unwrap();
    assert!(began.elapsed() < SOON, "no wait holds the group up: {:?}", began.elapsed());
    case.ledger.wait("all are handled", |all| all.iter().filter(|one| !one.failed).count() >= 40).await;
    broker().wait_for_commits_to_end(&case.retry_group(), &case.first, SOON).await.unwrap();
    for number in 0..40 {
        let way = case.ledger.of(number);
        assert_eq!(way.len(), 2, "{way:?}");
        assert!(way[1].millis >= way[1].due.unwrap(), "{way:?}");
    }
    first.shutdown().await.into_result().unwrap();
    second.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_retry_topic_is_not_created_and_holds_the_partition_until_it_is_there() {
    let case = Case::without_topics(1, [300, 700]).await;
    let listeners = case.builder().start().await.unwrap();
    broker().produce_all([case.record(0, 0), case.record(1, 1), case.record(2, 0)]).await.unwrap();
    let is_waiting = |status: &ListenerStatus| {
        let says = |error: &str| error.contains("there is no retry topic") && error.contains(&case.first);
        status.partitions.iter().any(|partition| {
            let error = partition.blocking.as_ref().and_then(|blocking| blocking.error.as_deref());
            matches!(partition.phase, Phase::RetryTopicWaiting | Phase::Producing) && error.is_some_and(says)
        })
    };
    status(&listeners, "the record waits", is_waiting).await;
    assert_eq!(case.ledger.all().iter().map(|one| one.number).collect::<Vec<_>>(), [0, 1], "nothing overtakes it");
    let place = TopicPartition::new(case.ground.topic.as_str(), 0);
    let container = listeners.container("put-off").unwrap();
    let other = || async {
        let outcome = container.skip_held(&place, 0).await;
        // Between two waits it is on its way.
        ensure!(outcome == HoldOutcome::OtherRecord { held: 1 }, "{outcome:?}");
        Ok(())
    };
    eventually(SOON, "no other record is skipped", other).await.unwrap();
    for topic in [&case.first, &case.second] {
        assert_eq!(broker().partitions(topic).await.unwrap(), Vec::<i32>::new(), "nobody created the topic");
    }
    for topic in [&case.first, &case.second] {
        broker().create_topic(topic, 1).await.unwrap();
    }
    case.ledger.wait("all are handled", |all| all.iter().filter(|one| !one.failed).count() == 3).await;
    case.settle().await;
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_retry_topic_ends_the_start_where_missing_topics_fail() {
    let case = Case::without_topics(1, [300, 700]).await;
    broker().create_topic(&case.dead, 1).await.unwrap();
    let builder = case.builder().set("listener.missing_topics", "fail");
    let ended = tokio::time::timeout(SOON, builder.run()).await.unwrap();
    let Err(Error::Failed { reason, .. }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains(&case.first) && reason.contains(&case.second), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kills_every_record_is_handled_or_a_dead_letter_and_none_is_lost() {
    const COUNT: usize = 400;
    watch_log();
    let case = Case::with_delays(2, [200, 400]).await;
    // One in four always fails.
    let is_bad = |number: usize| number.is_multiple_of(4);
    let order = |number: usize| {
        let id = format!("{}-{number}", if is_bad(number) { "bad" } else { "good" });
        let partition = i32::try_from(number % 2).unwrap();
        Record::to(&case.ground.topic).partition(partition).json(serde_json::json!({ "orderId": id }))
    };
    broker().produce_all((0..COUNT).map(order)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_member");
    let options = MemberOptions::new(program, broker(), &case.ground.topic, &case.ground.group, directory.path())
        .set("listener.session_timeout", "6s")
        .set("listener.on_failure", "dead_letter")
        .set("listener.retry_topics.delays", "200ms,400ms")
        .with(["--on", "bad-*=fail"]);
    let records = |topic: &str| {
        let topic = topic.to_owned();
        async move { anyhow::Ok(broker().end_offsets(&topic).await?.values().sum::<i64>()) }
    };
    // Each is killed while it puts records off, while it moves them on, and while it gives them up.
    for (name, topic, count) in [("first", &case.first, 20), ("second", &case.second, 20), ("third", &case.dead, 20)] {
        let mut member = Member::spawn(name, &options).unwrap();
        let some = || async {
            let found = records(topic).await?;
            ensure!(found >= count, "{found} in {topic}");
            Ok(())
        };
        eventually(SOON * 2, "it gets that far", some).await.unwrap();
        assert_eq!(member.kill().await.unwrap().signal, Some(9));
    }
    let mut last = Member::spawn("last", &options).unwrap();
    case.settle().await;
    assert!(last.stop(SOON).await.unwrap().is_clean(), "{}", last.words());

    let mut dead = BTreeMap::<_, usize>::new();
    for letter in broker().read_topic(&case.dead).await.unwrap() {
        *dead.entry(support::accounts::origin(&letter).unwrap()).or_default() += 1;
    }
    let source = broker().read_topic(&case.ground.topic).await.unwrap();
    let is_bad_order = |stored: &&Stored| String::from_utf8_lossy(stored.payload.as_deref().unwrap()).contains("bad-");
    let bad: BTreeSet<_> = source.iter().filter(is_bad_order).map(|stored| (stored.partition, stored.offset)).collect();
    assert_eq!((source.len(), bad.len()), (COUNT, COUNT / 4));
    assert_eq!(dead.keys().copied().collect::<BTreeSet<_>>(), bad, "those that always fail, and no others");
    let events = support::checker::events_in(directory.path()).unwrap();
    let ended = |event: &support::event::Event| match &event.what {
        What::End { place, outcome: Outcome::Ok } => Some((place.topic.clone(), place.partition, place.offset)),
        _ => None,
    };
    let handled: BTreeSet<_> = events.iter().filter_map(ended).collect();
    let good = source.iter().filter(|stored| !is_bad_order(stored));
    let good = good.map(|stored| (case.ground.topic.clone(), stored.partition, stored.offset));
    assert_eq!(handled, good.collect(), "handled in the listener's own topic, and nothing else");
}
