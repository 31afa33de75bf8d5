//! What single rows of the fault matrix do to a log.

use super::super::second_life_of;
use super::{Anomaly, Content, Log, Outcome, Place, Signal, TOPIC, What, place};

#[test]
fn a_fault_of_one_members_network_excuses_nobody_else() {
    let log = |victim: &str| {
        let log = Log::with(4).assigned("a").settles().handles("a", 0..2).commits("a", 2);
        let member = Some(victim.to_owned());
        let log = log.event("harness", What::FaultBegan { fault: "mute".to_owned(), member }).handles("a", [2, 3]);
        let log = log.lost("a").assigned("b").handles("b", 2..4).commits("b", 4).stopped("a").stopped("b");
        log.verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(log("a"), []);
    // A loss excuses what the session saw; that was settled.
    assert_eq!(log("b"), []);
    let exits = |victim: &str| {
        let log = Log::with(1).assigned("a").handles("a", [0]).commits("a", 1);
        let member = Some(victim.to_owned());
        let log = log.event("harness", What::FaultBegan { fault: "mute".to_owned(), member });
        log.signal("a", Signal::Term).exits("a", Some(1), None).verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(exits("a"), []);
    assert_eq!(exits("b"), [Anomaly::BadExit]);
}

#[test]
fn an_evicted_member_repeats_what_it_had_not_committed_by_then_and_a_loss_before_excuses_none_of_it() {
    let log = |evicted: bool| {
        let log = Log::with(8).assigned("a").settles().handles("a", 0..2).commits("a", 2).lost("a").assigned("a");
        let log = if evicted { log.settles() } else { log };
        let log = log.after(1_000).handles("a", 2..4).commits("a", 4).after(1_000);
        let log = log.handles("a", [4]);
        let log = if evicted { log.event("harness", What::Evicted { member: "a".to_owned() }) } else { log };
        let log = log.handles("a", [5]).after(10).lost("a").assigned("a").handles("a", 4..8).commits("a", 8);
        log.stopped("a").passes().worst_duplicates
    };
    let worst = log(true);
    assert_eq!((worst.repeats, worst.bound), (2, 3));
    // Without a known moment it is anything that the session saw.
    let worst = log(false);
    assert_eq!((worst.repeats, worst.bound), (2, 5));
}

#[test]
fn a_member_that_something_was_done_to_may_end_with_an_error_and_with_nothing_else() {
    let ready = || {
        let log = Log::with(1).assigned("a").handles("a", [0]).commits("a", 1);
        log.event("harness", What::MayFail { member: "a".to_owned() })
    };
    ready().exits("a", Some(1), None).passes();
    ready().exits("a", Some(0), None).shows(Anomaly::BadExit);
    ready().exits("a", None, Some(11)).shows(Anomaly::BadExit);
}

#[test]
fn records_that_the_harness_deleted_are_not_lost_and_all_others_are() {
    let log = |before| {
        let mut log = Log::with(6).assigned("a").handles("a", 0..2).commits("a", 2);
        log.history.content.drain(..4);
        let log = log.event("harness", What::Truncated { place: place(before) });
        log.handles("a", [4, 5]).commits("a", 6).stopped("a").verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(log(4), []);
    assert_eq!(log(3), [Anomaly::Lost]);
}

#[test]
fn offsets_that_the_harness_deleted_begin_anew_once() {
    let log = |times| {
        let log = Log::with(3).assigned("a").handles("a", 0..3).commits("a", 3).stopped("a");
        let log = log.event("harness", What::OffsetsDeleted);
        let log = (0..times).fold(log, |log, n| {
            let name = format!("b{n}");
            log.assigned(&name).handles(&name, 0..3).commits(&name, 1).commits(&name, 3).stopped(&name)
        });
        log.verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(log(1), []);
    assert_eq!(log(2), [Anomaly::DupOverBound, Anomaly::CommitRegress]);
}

#[test]
fn the_second_life_of_a_topic_is_judged_by_itself() {
    let log = |handled: std::ops::Range<i64>| {
        let mut log = Log::with(4).assigned("a").handles("a", 0..4).commits("a", 4);
        log = log.event("harness", What::Recreated { topic: TOPIC.to_owned() });
        for offset in 0..2 {
            log = log.event("harness", What::Acked { place: place(offset), value: format!("AGAIN-{offset}") });
            let place = Place::new(second_life_of(TOPIC), 0, offset);
            log.history.content.push(Content { place, value: format!("AGAIN-{offset}"), aborted: false });
        }
        for offset in handled {
            log = log.event("a", What::Start { place: place(offset), value: format!("AGAIN-{offset}") });
            log = log.ends("a", offset, Outcome::Ok);
        }
        log.stopped("a")
    };
    assert_eq!(log(0..2).passes().done, 6);
    log(0..1).shows(Anomaly::Unseen);
}

#[test]
fn a_promise_of_a_row_that_has_not_come_about_is_broken() {
    let log = Log::with(1).assigned("a").handles("a", [0]).commits("a", 1).stopped("a");
    log.event("harness", What::Broken { promise: "a spare was loud".to_owned() }).shows(Anomaly::PromiseBroken);
}

#[test]
fn what_stood_still_while_no_broker_was_away_is_told() {
    let fault = || "node 1".to_owned();
    let log = Log::with(3).assigned("a").handles("a", [0]).after(2_000).handles("a", [1]);
    let log = log.event("harness", What::FaultBegan { fault: fault(), member: None }).after(9_000);
    let log = log.event("harness", What::FaultEnded { fault: fault() }).after(1_000).handles("a", [2]);
    let stood_still = log.commits("a", 3).stopped("a").passes().stood_still;
    assert!((2_000..2_100).contains(&stood_still.as_millis()), "{stood_still:?}");
}
