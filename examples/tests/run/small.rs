//! The small examples end by themselves, and print the same every time.

use crate::child::Child;

#[track_caller]
fn check(program: &str, arguments: &[&str], expected: &[&str]) {
    let run = Child::spawn(program, arguments).finish();
    assert!(run.status.success(), "{run:#?}");
    assert_eq!(run.stdout, expected, "{run:#?}");
}

#[test]
fn slack_alarm_posts_what_can_be_read_and_skips_the_rest() {
    check(
        env!("CARGO_BIN_EXE_slack_alarm"),
        &[],
        &[
            "[#ops] disk full",
            "[#shop] payment provider is down",
            "[#shop] payment provider is back",
            "skipped 1 that could not be read",
        ],
    );
}

#[test]
fn slack_alarm_posts_nothing_in_the_development_profile() {
    check(
        env!("CARGO_BIN_EXE_slack_alarm"),
        &["dev"],
        &[
            "[not posted] #ops: disk full",
            "[not posted] #shop: payment provider is down",
            "[not posted] #shop: payment provider is back",
            "skipped 1 that could not be read",
        ],
    );
}

#[test]
fn dead_letters_are_written_back_twice_at_most() {
    check(
        env!("CARGO_BIN_EXE_dead_letters"),
        &[],
        &[
            "charged p1",
            "charged p3",
            "given up payments-0@1 after 0 replays: decode",
            "given up payments-0@6 after 2 replays: terminal",
            "5 dead letters",
        ],
    );
}

#[test]
fn replies_go_where_each_request_asks() {
    check(
        env!("CARGO_BIN_EXE_replies"),
        &[],
        &[
            "cake unanswered: the record has no header `kafka_replyTopic`, which `send_to = \"{reply_topic}\"` sends its \
             reply to",
            "request 1: tea is 350 cents",
            "request 4: cake is 420 cents",
            "2 replies",
        ],
    );
}

#[test]
fn retry_topics_let_the_others_pass() {
    check(
        env!("CARGO_BIN_EXE_retry_topics"),
        &[],
        &[
            "charged p4, delivery 1 of 3",
            "given up p2, payments-0@1: the card is blocked",
            "charged p1, delivery 3 of 3",
            "given up p3, payments-0@2: the bank has no time",
            "put off 4 times",
        ],
    );
}

#[test]
fn load_first_sells_nothing_before_every_price_is_loaded() {
    check(
        env!("CARGO_BIN_EXE_load_first"),
        &[],
        &["sold 2 tea for 8", "sold 3 cup for 33", "`load_prices`: completed", "`price`: drained", "`sell`: drained"],
    );
}

#[test]
fn manual_registration_runs_the_named_listener_only() {
    check(
        env!("CARGO_BIN_EXE_manual_registration"),
        &[],
        &["running audit", "payments-0@0 100", "payments-0@1 2500", "payments-0@2 70"],
    );
}

#[test]
fn manual_acks_commits_what_the_writer_has_acknowledged() {
    check(
        env!("CARGO_BIN_EXE_manual_acks"),
        &[],
        &["transaction 1 of 80: [0, 2, 3]", "transaction 2 of 130: [1, 4, 5]", "committed up to 6"],
    );
}

#[test]
fn rebalance_hooks_carry_totals_from_member_to_member() {
    let run = Child::spawn(env!("CARGO_BIN_EXE_rebalance_hooks"), &[]).finish();
    assert!(run.status.success(), "{run:#?}");
    assert_eq!(run.stdout.last().unwrap(), "400 payments add up to 20200", "{run:#?}");
    let place = |line: &str| {
        run.stdout.iter().position(|printed| printed.starts_with(line)).unwrap_or_else(|| panic!("no {line}: {run:#?}"))
    };
    // One partition moves while both members run.
    assert!(place("first: assigned payments-") < place("first: saved payments-"));
    assert!(place("first: saved payments-") < place("first: committed payments-"));
    assert!(place("first: committed payments-") < place("second: assigned payments-"));
    assert!(place("second: assigned payments-") < place("second: saved payments-"));
}
