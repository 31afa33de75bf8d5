//! A handler that never ends: a stop waits for it within its budget, a second signal does not, and both say what was cut
//! off.

use std::path::Path;
use std::time::{Duration, Instant};

use support::event::{Event, Signal, What};
use support::member::Exit;
use support::{Member, MemberOptions, Record, SOON, broker, eventually, unique};
use tempfile::TempDir;

/// What the process may take for its own end behind the listener's.
const SLACK: Duration = Duration::from_secs(1);
/// Handlers of this order wait for ever; how is up to the test.
const ENDLESS: &str = "ENDLESS";

const AWAITS: [&str; 2] = ["--on", "ENDLESS=latch"];
const BLOCKS: [&str; 3] = ["--block", "--work-ms", "3600000"];

#[tokio::test]
async fn a_second_sigterm_ends_the_process_at_once_and_the_report_names_the_cancelled_record() {
    let shop = Shop::open(1).await;
    for order in ["one", "two", ENDLESS] {
        shop.order(0, order).await;
    }
    let mut member = shop.member("stubborn", &AWAITS, &[]);
    wait_for_starts(&mut member, 3).await;

    member.signal(Signal::Term).unwrap();
    wait_for_words(&member, "draining handlers").await;
    assert_eq!(member.try_exit().unwrap(), None, "the first signal waits for the handler");
    member.signal(Signal::Term).unwrap();
    let told = Instant::now();
    let exit = member.wait_for_exit(SOON).await.unwrap();

    assert!(told.elapsed() <= SLACK * 2, "{:?}", told.elapsed());
    shop.assert_cut_off(&member, exit, &[(0, 2)]);
    assert_eq!(shop.committed().await, [(0, 2)], "what was handled before is committed");
    let mut next = shop.member("next", &[], &[]);
    wait_for_starts(&mut next, 1).await;
    assert_eq!(starts(&next), [(0, 2)], "the record that was cut off is handled again, and no other");
    assert!(next.stop(SOON).await.unwrap().is_clean());
}

#[tokio::test]
async fn without_a_second_signal_the_process_ends_within_its_shutdown_timeout() {
    for (name, never_ending) in [("awaits", &AWAITS[..]), ("blocks", &BLOCKS[..])] {
        let shop = Shop::open(1).await;
        shop.order(0, ENDLESS).await;
        let budget = Duration::from_secs(3);
        let mut member = shop.member(name, never_ending, &[("listener.shutdown_timeout", "3s")]);
        wait_for_starts(&mut member, 1).await;

        member.signal(Signal::Term).unwrap();
        let told = Instant::now();
        let exit = member.wait_for_exit(SOON).await.unwrap();

        let took = told.elapsed();
        // The drain has the larger part of the budget.
        assert!(took >= budget / 2 && took <= budget + SLACK, "{name}: {took:?}");
        shop.assert_cut_off(&member, exit, &[(0, 0)]);
        // A process that got no time for a while has its membership confirmed by committing where it stands.
        let committed = shop.committed().await;
        assert!(committed.is_empty() || committed == [(0, 0)], "{name}: nothing was handled: {committed:?}");
    }
}

#[tokio::test]
async fn a_record_that_a_rebalance_cuts_off_during_a_stop_is_named_too() {
    let shop = Shop::open(2).await;
    shop.order(0, ENDLESS).await;
    shop.order(1, ENDLESS).await;
    let mut member = shop.member("stubborn", &AWAITS, &[("listener.revoke_timeout", "1s")]);
    wait_for_starts(&mut member, 2).await;

    member.signal(Signal::Term).unwrap();
    wait_for_words(&member, "draining handlers").await;
    let mut other = shop.member("other", &[], &[]);
    other.wait_until_assigned(SOON).await.unwrap();
    wait_for_starts(&mut other, 1).await;
    member.signal(Signal::Term).unwrap();
    let exit = member.wait_for_exit(SOON).await.unwrap();

    shop.assert_cut_off(&member, exit, &[(0, 0), (1, 0)]);
    wait_for_starts(&mut other, 2).await;
    assert!(other.stop(SOON).await.unwrap().is_clean());
}

/// A topic, a group on it, and the folder of its members' logs.
struct Shop {
    topic: String,
    group: String,
    directory: TempDir,
}

impl Shop {
    async fn open(partitions: i32) -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, partitions).await.unwrap();
        Self { topic, group, directory: tempfile::tempdir().unwrap() }
    }

    async fn order(&self, partition: i32, id: &str) {
        let record = Record::to(&self.topic).partition(partition).json(serde_json::json!({"orderId": id}));
        broker().produce(record).await.unwrap();
    }

    fn member(&self, name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Member {
        let directory: &Path = self.directory.path();
        let program = env!("CARGO_BIN_EXE_member");
        let never = directory.join("never").display().to_string();
        let options = MemberOptions::new(program, broker(), &self.topic, &self.group, directory)
            .set("listener.session_timeout", "6s")
            .with(["--latch", &never])
            .with(arguments.iter().copied());
        let options = settings.iter().fold(options, |options, (path, value)| options.set(path, value));
        Member::spawn(name, &options).unwrap()
    }

    async fn committed(&self) -> Vec<(i32, i64)> {
        broker().committed(&self.group, &self.topic).await.unwrap().into_iter().collect()
    }

    /// The process says with its exit code that something was left, and its report names these records and no others.
    fn assert_cut_off(&self, member: &Member, exit: Exit, records: &[(i32, i64)]) {
        assert_eq!(exit, Exit { code: Some(1), signal: None }, "{}", member.words());
        let events = member.events().unwrap();
        let report = events.iter().rev().find_map(|event| match &event.what {
            What::Report { clean, text } => Some((*clean, text)),
            _ => None,
        });
        let (clean, text) = report.unwrap();
        assert!(!clean, "{text}");
        let named = |(partition, offset)| format!("record `{}-{partition}@{offset}` was still running", self.topic);
        assert_eq!(text.matches("was still running").count(), records.len(), "{text}");
        assert!(records.iter().all(|record| text.contains(&named(*record))), "{text}");
    }
}

fn starts(member: &Member) -> Vec<(i32, i64)> {
    let started = member.events().unwrap().into_iter().filter_map(|event| match event.what {
        What::Start { place, .. } => Some((place.partition, place.offset)),
        _ => None,
    });
    started.collect()
}

async fn wait_for_starts(member: &mut Member, count: usize) {
    let is_start = |event: &&Event| matches!(event.what, What::Start { .. });
    let started = |events: &[Event]| events.iter().filter(is_start).count() >= count;
    member.wait_for(SOON, &format!("{count} handlers have started"), started).await.unwrap();
}

async fn wait_for_words(member: &Member, words: &str) {
    eventually(SOON, "the member has logged it", || async { member.words().contains(words) }).await.unwrap();
}
