//! Handlers that never end, and `on_stuck = "leave"`: others take over, and nothing that merely waits counts as stuck.

use std::time::{Duration, Instant};

use support::eventually;

use super::crew::{Crew, SOON, handled, owned_by, rebalances_of, stop};

/// `max_poll_interval` of these members, as short as their session allows.
const INTERVAL: Duration = Duration::from_secs(6);

async fn crew(partitions: i32) -> Crew {
    Crew::new(partitions)
        .await
        .with("listener.max_poll_interval", "6s")
        .with("listener.revoke_timeout", "2s")
        .with("listener.on_stuck", "leave")
}

#[tokio::test]
async fn a_member_whose_handler_is_stuck_leaves_and_another_one_takes_over() {
    let mut crew = crew(4).await;
    let latch = crew.path("latch");
    let told = ["--on", "*=latch", "--latch", latch.to_str().unwrap()];
    let mut stuck = crew.member_told("stuck", &told);
    let mut sound = crew.member("sound");
    crew.wait_until_balanced(&[&stuck, &sound]).await;
    let before = rebalances_of(&stuck);
    crew.start_load();

    let left = || async {
        let events = stuck.events()?;
        anyhow::ensure!(owned_by(&events).is_empty(), "{:?}", owned_by(&events));
        Ok(())
    };
    eventually(SOON, "the stuck member gives its partitions up", left).await.unwrap();
    crew.wait_until_balanced(&[&sound]).await;
    assert!(rebalances_of(&stuck) > before);
    assert_eq!(handled(&stuck.events().unwrap()), 0);
    let log = crew.log_of("stuck");
    assert!(log.contains("stuck: the handler has been running") && log.contains("leaving the group"), "{log}");

    // What it waited for has come: it joins again by itself.
    std::fs::write(&latch, "").unwrap();
    crew.wait_until_balanced(&[&stuck, &sound]).await;
    crew.wait_for_flow(&[&stuck, &sound], 20).await;
    crew.end_load().await;
    stop(&mut stuck).await;
    stop(&mut sound).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_poison_record_on_hold_costs_no_rebalance_however_long_it_is_held() {
    let mut crew = crew(6).await.with("listener.retry.attempts", "1");
    let poison = ["--on", "7=fail"];
    let names = ["one", "two", "three"];
    let mut members = names.map(|name| crew.member_told(name, &poison));
    crew.wait_until_balanced(&[&members[0], &members[1], &members[2]]).await;
    crew.start_load();
    crew.wait_for_flow(&[&members[0], &members[1], &members[2]], 20).await;
    let held = || async { names.iter().any(|name| crew.log_of(name).contains("told to fail at `7`")) };
    eventually(SOON, "the poison record is on hold", held).await.unwrap();
    let before = [0, 1, 2].map(|index| rebalances_of(&members[index]));

    // The promise is about time: five intervals with the record on hold, and the others at work.
    let since = Instant::now();
    while since.elapsed() < INTERVAL * 5 {
        crew.wait_for_flow(&[&members[0], &members[1], &members[2]], 100).await;
    }
    assert_eq!([0, 1, 2].map(|index| rebalances_of(&members[index])), before);
    for (name, member) in names.iter().zip(&mut members) {
        assert!(!crew.log_of(name).contains("stuck: the handler"), "{name}");
        // The record is still on hold: nothing to wait for.
        assert!(member.stop(SOON).await.unwrap().is_clean(), "{}", member.words());
    }
}
