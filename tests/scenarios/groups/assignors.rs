//! Members that come and go with each assignor: even shares, one owner at a time, nothing lost, nothing twice.

use support::{broker, eventually};

use super::crew::{Crew, SOON, owned_by, stop};

const STRATEGY: &str = "listener.partition_assignment_strategy";

/// Members 1, 2, 3, 2, 1 under load; the last one is handed back.
async fn members_come_and_go(crew: &mut Crew) -> support::Member {
    let mut first = crew.member("first");
    crew.start_load();
    crew.wait_until_balanced(&[&first]).await;
    crew.wait_for_flow(&[&first], 50).await;
    let second = crew.member("second");
    crew.wait_until_balanced(&[&first, &second]).await;
    crew.wait_for_flow(&[&first, &second], 50).await;
    let mut third = crew.member("third");
    crew.wait_until_balanced(&[&first, &second, &third]).await;
    crew.wait_for_flow(&[&first, &second, &third], 50).await;
    // Not the last that came, and the first of all at that.
    stop(&mut first).await;
    crew.wait_until_balanced(&[&second, &third]).await;
    crew.wait_for_flow(&[&second, &third], 50).await;
    stop(&mut third).await;
    crew.wait_until_balanced(&[&second]).await;
    crew.wait_for_flow(&[&second], 50).await;
    second
}

pub(super) async fn nothing_is_lost_or_repeated(mut crew: Crew) {
    let mut last = members_come_and_go(&mut crew).await;
    let produced = crew.end_load().await;
    stop(&mut last).await;

    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced));
}

#[tokio::test]
async fn range_hands_over_without_loss_or_repeat() {
    nothing_is_lost_or_repeated(Crew::new(7).await.with(STRATEGY, "range")).await;
}

#[tokio::test]
async fn roundrobin_hands_over_without_loss_or_repeat() {
    let java = "org.apache.kafka.clients.consumer.RoundRobinAssignor";
    nothing_is_lost_or_repeated(Crew::new(7).await.with(STRATEGY, java)).await;
}

#[tokio::test]
async fn cooperative_sticky_hands_over_without_loss_or_repeat() {
    nothing_is_lost_or_repeated(Crew::new(7).await).await;
}

#[tokio::test]
async fn an_eager_rebalance_stops_everybody_and_the_log_says_for_how_long() {
    let mut crew = Crew::new(4).await.with(STRATEGY, "range");
    let mut first = crew.member("first");
    crew.start_load();
    crew.wait_until_balanced(&[&first]).await;
    crew.wait_for_flow(&[&first], 20).await;
    let mut second = crew.member("second");
    crew.wait_until_balanced(&[&first, &second]).await;
    let said = || async {
        let log = crew.log_of("first");
        let line = log.lines().find(|line| line.contains("that we had before stood still"));
        anyhow::ensure!(line.is_some_and(|line| line.contains("2 partitions that we had")), "{log}");
        anyhow::ensure!(line.is_some_and(|line| line.contains("stood_still=")), "{log}");
        Ok(())
    };
    eventually(SOON, "the log tells how long the partitions that came back stood still", said).await.unwrap();
    crew.end_load().await;
    stop(&mut second).await;
    stop(&mut first).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_group_changes_its_eager_assignor_member_by_member() {
    let mut crew = Crew::new(4).await;
    let mut old =
        [crew.member_with("old-1", &[(STRATEGY, "range")]), crew.member_with("old-2", &[(STRATEGY, "range")])];
    crew.start_load();
    crew.wait_until_balanced(&[&old[0], &old[1]]).await;
    let mut both = Vec::new();
    for (number, old) in old.iter_mut().enumerate() {
        stop(old).await;
        both.push(crew.member_with(&format!("both-{number}"), &[(STRATEGY, "roundrobin,range")]));
    }
    crew.wait_until_balanced(&[&both[0], &both[1]]).await;
    let mut new = Vec::new();
    for (number, both) in both.iter_mut().enumerate() {
        stop(both).await;
        new.push(crew.member_with(&format!("new-{number}"), &[(STRATEGY, "roundrobin")]));
    }
    crew.wait_until_balanced(&[&new[0], &new[1]]).await;
    crew.wait_for_flow(&[&new[0], &new[1]], 20).await;
    assert_eq!(broker().group(&crew.group).await.unwrap().assignor, "roundrobin");
    let produced = crew.end_load().await;
    for member in &mut new {
        stop(member).await;
    }
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced));
}

#[tokio::test]
async fn a_member_without_a_partition_is_named_and_takes_over_when_an_owner_dies() {
    a_spare_takes_over(Crew::new(2).await).await;
}

pub(super) async fn a_spare_takes_over(crew: Crew) {
    let mut crew = crew.with("listener.revoke_timeout", "1s");
    let (mut first, mut second) = (crew.member("first"), crew.member("second"));
    crew.start_load();
    crew.wait_until_balanced(&[&first, &second]).await;
    let mut spare = crew.member("spare");
    let idle = || async {
        let members = [&first, &second, &spare];
        let idle = members.into_iter().find(|member| owned_by(&member.events().unwrap()).is_empty());
        let log = idle.map(|idle| crew.log_of(idle.name())).unwrap_or_default();
        anyhow::ensure!(log.contains("consumer 0 is a spare"), "{log}");
        Ok(())
    };
    eventually(SOON, "the member without a partition is named", idle).await.unwrap();
    let mut alive = [&mut first, &mut second, &mut spare];
    let dead = alive.iter().position(|member| !owned_by(&member.events().unwrap()).is_empty()).unwrap();
    // Long enough for the group to have settled for more than a session before the kill.
    crew.wait_for_flow(&[&*alive[dead]], 700).await;
    alive[dead].kill().await.unwrap();
    let rest: Vec<&support::Member> =
        alive.iter().enumerate().filter(|(index, _)| *index != dead).map(|(_, member)| &**member).collect();
    crew.wait_until_balanced(&rest).await;
    crew.wait_for_flow(&rest, 50).await;
    crew.end_load().await;
    for (index, member) in alive.iter_mut().enumerate() {
        if index != dead {
            stop(member).await;
        }
    }
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}
