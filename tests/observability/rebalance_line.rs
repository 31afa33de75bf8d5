//! Every rebalance is one line that reads as a sentence and carries its figures as fields.

use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::{ListenerError, ListenerRegistry, kafka_listener, listener};
use support::eventually;

use crate::common::{Desk, Ground, Order, SOON, wait_for_status};
use crate::log::{Line, lines_of};

#[kafka_listener(id = "rebalanced-first")]
async fn first(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[kafka_listener(id = "rebalanced-second")]
async fn second(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn every_rebalance_is_one_line_that_reads_as_a_sentence() {
    let ground = Ground::new(4).await;
    let one = ground.registry().register(listener!(first)).start().await.unwrap();
    wait_for_status(&one, "the first owns all", |status| status.partitions.len() == 4).await;
    let two = ground.registry().register(listener!(second)).start().await.unwrap();
    wait_for_status(&two, "the second owns half", |status| status.partitions.len() == 2).await;
    wait_for_status(&one, "the first owns half", |status| status.partitions.len() == 2).await;
    eventually(SOON, "the first has revoked", || async { !of_kind("rebalanced-first", "revoked").is_empty() })
        .await
        .unwrap();
    let (counted, told) = settled(&one, "rebalanced-first").await;
    assert_eq!(counted, told, "one line for each rebalance");

    let joined = &rebalances("rebalanced-first")[0];
    let all = (0..4).map(|partition| format!("{}-{partition}", ground.topic)).collect::<Vec<_>>().join(", ");
    assert_eq!(joined.field("kind"), "assigned");
    assert_eq!(joined.field("group"), ground.group);
    assert_eq!((joined.field("partitions"), joined.field("assignment")), (all.as_str(), all.as_str()));
    let member = one.status().listeners[0].consumers[0].member_id.clone().unwrap();
    assert_eq!(joined.field("member"), member);
    assert!(joined.field("generation").contains('1'), "{joined:?}");
    assert!(is_duration(joined.field("took")), "{joined:?}");
    assert_eq!(
        sentence(&ground, joined),
        "group `group`: assigned 4 partitions in TIME (hooks took TIME); this consumer now owns 4 partitions"
    );

    let revoked = of_kind("rebalanced-first", "revoked");
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    let (gone, kept) = (revoked[0].field("partitions"), revoked[0].field("assignment"));
    let mut together: Vec<&str> = gone.split(", ").chain(kept.split(", ")).collect();
    together.sort_unstable();
    assert_eq!((gone.split(", ").count(), together.join(", ")), (2, all), "gone and kept are all there are");
    assert_eq!(revoked[0].field("member"), joined.field("member"));
    assert_eq!(
        sentence(&ground, &revoked[0]),
        "group `group`: revoked 2 partitions in TIME (drain took TIME, hooks TIME, commit TIME, the others stood still \
         TIME); this consumer now owns 2 partitions"
    );

    one.shutdown().await.into_result().unwrap();
    two.shutdown().await.into_result().unwrap();
}

fn rebalances(listener: &str) -> Vec<Line> {
    lines_of(listener).into_iter().filter(|line| line.fields.contains_key("kind")).collect()
}

fn of_kind(listener: &str, kind: &str) -> Vec<Line> {
    rebalances(listener).into_iter().filter(|line| line.field("kind") == kind).collect()
}

/// The rebalances counted and told, read when neither is about to change.
async fn settled(listeners: &ListenerRegistry, id: &str) -> (u64, u64) {
    let mut last = (0, 0);
    let still = || {
        let now = (listeners.status().listeners[0].rebalances, rebalances(id).len() as u64);
        let same = std::mem::replace(&mut last, now) == now && now.0 == now.1;
        async move { same }
    };
    // An unequal pair is for the caller to judge.
    eventually(Duration::from_secs(20), "they are equal", still).await.ok();
    last
}

/// The message without what differs from run to run.
fn sentence(ground: &Ground, line: &Line) -> String {
    let mut said = Vec::new();
    for word in ground.anonymous(line.message()).split(' ') {
        let end = word.find([',', ')', ';']).unwrap_or(word.len());
        let (word, punctuation) = word.split_at(end);
        said.push(if is_duration(word) { format!("TIME{punctuation}") } else { format!("{word}{punctuation}") });
    }
    said.join(" ")
}

fn is_duration(word: &str) -> bool {
    let unit = word.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    word.starts_with(|character: char| character.is_ascii_digit()) && ["s", "ms", "µs", "ns"].contains(&unit)
}
