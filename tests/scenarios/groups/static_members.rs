//! Static members: a seat in the group that outlives its process, and what becomes of two that want the same one.

use support::checker::Anomaly;
use support::kafka::Group;
use support::{Member, broker};

use super::crew::{Crew, SOON, owned_by, rebalances_of, stop};

const SEAT: &str = "listener.group_instance_id";
const SESSION: &str = "listener.session_timeout";
/// Longer than any of these tests waits for something.
const LONG: &str = "5m";

/// Members `one`, `two` and `three`, each in a seat of its name, on six partitions.
async fn three_seats(crew: &Crew) -> [Member; 3] {
    let members = ["one", "two", "three"].map(|seat| crew.member_with(seat, &[(SEAT, seat)]));
    crew.wait_until_balanced(&[&members[0], &members[1], &members[2]]).await;
    broker().wait_for_members(&crew.group, 3, SOON).await.unwrap();
    members
}

/// What the broker says of a member other than its process: the id that it gave, and what it assigned.
fn of_member(group: &Group, name: &str) -> (String, Vec<(String, i32)>) {
    let client_id = format!("{name}-member-0");
    let member = group.members.iter().find(|member| member.client_id == client_id).unwrap();
    let mut assignment = member.assignment.clone();
    assignment.sort();
    (member.member_id.clone(), assignment)
}

#[tokio::test]
async fn a_restart_within_the_session_moves_no_partition_and_disturbs_nobody() {
    let mut crew = Crew::new(6).await.with(SESSION, LONG).with("listener.max_poll_interval", LONG);
    let [one, mut two, three] = three_seats(&crew).await;
    crew.start_load();
    crew.wait_for_flow(&[&one, &two, &three], 20).await;
    let before = broker().group(&crew.group).await.unwrap();
    let rebalances = [rebalances_of(&one), rebalances_of(&three)];
    let owned = owned_by(&two.events().unwrap());

    stop(&mut two).await;
    let meanwhile = broker().group(&crew.group).await.unwrap();
    assert_eq!((meanwhile.state.as_str(), meanwhile.members.len()), ("Stable", 3), "a stop keeps the seat");
    let mut again = crew.member_with("two-again", &[(SEAT, "two")]);
    again.wait_until_assigned(SOON).await.unwrap();
    assert_eq!(owned_by(&again.events().unwrap()), owned);
    crew.wait_for_flow(&[&one, &again, &three], 20).await;
    again.kill().await.unwrap();
    let mut third_life = crew.member_with("two-at-last", &[(SEAT, "two")]);
    third_life.wait_until_assigned(SOON).await.unwrap();
    assert_eq!(owned_by(&third_life.events().unwrap()), owned);
    crew.wait_for_flow(&[&one, &third_life, &three], 20).await;

    let after = broker().group(&crew.group).await.unwrap();
    assert_eq!((after.state.as_str(), after.members.len()), ("Stable", 3));
    for survivor in ["one", "three"] {
        assert_eq!(of_member(&before, survivor), of_member(&after, survivor), "{survivor}");
    }
    // The broker keeps the seat under the client id of its first owner, and gives each owner an id.
    assert_eq!(of_member(&before, "two").1, of_member(&after, "two").1);
    assert_ne!(of_member(&before, "two").0, of_member(&after, "two").0);
    assert_eq!([rebalances_of(&one), rebalances_of(&three)], rebalances, "nobody else noticed");
    crew.end_load().await;
    for mut member in [one, third_life, three] {
        stop(&mut member).await;
    }
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn leave_on_stop_gives_the_seat_up_at_once() {
    for strategy in ["range", "cooperative-sticky"] {
        let mut crew = Crew::new(6)
            .await
            .with(SESSION, LONG)
            .with("listener.max_poll_interval", LONG)
            .with("listener.partition_assignment_strategy", strategy)
            .with("listener.leave_on_stop", "true");
        let [mut one, mut two, mut three] = three_seats(&crew).await;
        crew.start_load();
        crew.wait_for_flow(&[&one, &two, &three], 20).await;
        stop(&mut two).await;
        crew.wait_until_balanced(&[&one, &three]).await;
        broker().wait_for_members(&crew.group, 2, SOON).await.unwrap();
        crew.end_load().await;
        stop(&mut one).await;
        // A member that is stopped in the middle of a join cannot say who leaves.
        crew.wait_until_balanced(&[&three]).await;
        broker().wait_for_members(&crew.group, 1, SOON).await.unwrap();
        stop(&mut three).await;
        broker().wait_for_members(&crew.group, 0, SOON).await.unwrap();
        let verdict = crew.verdict().await;
        assert!(verdict.is_clean(), "{strategy}: {:#?}", verdict.findings);
    }
}

#[tokio::test]
async fn of_two_members_with_one_id_the_old_one_stops_says_why_and_is_not_restarted() {
    let mut crew = Crew::new(4).await.with(SESSION, LONG).with("listener.max_poll_interval", LONG);
    let settings = [(SEAT, "pod-7"), ("listener.on_fatal", "restart")];
    let mut old = crew.member_with("old", &settings);
    crew.start_load();
    crew.wait_until_balanced(&[&old]).await;
    crew.wait_for_flow(&[&old], 20).await;

    let mut new = crew.member_with("new", &settings);
    let exit = old.wait_for_exit(SOON).await.unwrap();
    assert_eq!(exit.code, Some(1), "{}", old.words());
    let words = crew.log_of("old");
    assert!(words.contains("fenced") && words.contains("`pod-7-0`"), "{words}");
    crew.wait_until_balanced(&[&new]).await;
    crew.wait_for_flow(&[&new], 20).await;
    crew.end_load().await;
    stop(&mut new).await;

    // Until its next heartbeat or commit the old one does not know, so handlers of both may overlap for a moment.
    let of_the_moment = [Anomaly::BadExit, Anomaly::OverlapOutsideWindow, Anomaly::DupOverBound];
    let verdict = crew.verdict().await;
    let other: Vec<_> = verdict.findings.iter().filter(|finding| !of_the_moment.contains(&finding.anomaly)).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(verdict.by_name().get(&Anomaly::BadExit), Some(&1));
}

#[tokio::test]
async fn a_static_member_that_is_gone_for_longer_than_its_session_is_replaced() {
    let mut crew = Crew::new(6).await;
    let [mut one, mut two, mut three] = three_seats(&crew).await;
    crew.start_load();
    // Long enough for the group to have settled for more than a session.
    crew.wait_for_flow(&[&one, &two, &three], 500).await;
    two.kill().await.unwrap();
    crew.wait_until_balanced(&[&one, &three]).await;
    crew.end_load().await;
    stop(&mut one).await;
    stop(&mut three).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}
