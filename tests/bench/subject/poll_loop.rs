//! The loop that teams write by hand, and that every other subject is measured by.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};

use super::client;
use crate::measure;
use crate::order::Order;
use crate::protocol::Assignment;

const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    // Each further group is a loop on a thread of its own; the first that fails ends the subject.
    let (failed, failure) = std::sync::mpsc::sync_channel(1);
    for group in 1..=assignment.groups {
        let mut assignment = assignment.clone();
        assignment.group = format!("{}-{group}", assignment.group);
        let failed = failed.clone();
        std::thread::spawn(move || failed.send(consume(&assignment)));
    }
    failure.recv().context("every loop is gone")?
}

fn consume(assignment: &Assignment) -> anyhow::Result<()> {
    let consumer: BaseConsumer = client::config(assignment).create()?;
    consumer.subscribe(&[&assignment.topic])?;
    let work = Duration::from_micros(assignment.work_micros);
    let mut last_commit = Instant::now();
    let mut uncommitted = false;
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message?;
            let order: Order = serde_json::from_slice(message.payload().context("a record has no payload")?)?;
            if !work.is_zero() {
                std::thread::park_timeout(work);
            }
            measure::handled(&order);
            uncommitted = true;
        }
        // Positions are stored as messages are handed out, and each is handled before the next is asked for.
        if uncommitted && last_commit.elapsed() >= COMMIT_INTERVAL {
            consumer.commit_consumer_state(CommitMode::Async)?;
            last_commit = Instant::now();
            uncommitted = false;
        }
    }
}
