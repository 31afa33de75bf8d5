//! A group's committed offsets over time, as an outside reader sees them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use super::{GroupOffsets, Kafka};
use crate::clock;

/// Samples until it is told to stop. Runs on a thread of its own, so that a test that blocks its runtime blinds nobody.
#[derive(Debug)]
pub struct CommitSampler {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
    seen: Arc<Mutex<Samples>>,
}

/// One look at the group's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Machine's monotonic clock in nanoseconds, before the question was sent.
    pub asked: u64,
    /// The same clock, after the answer came.
    pub answered: u64,
    /// The committed offset of every partition that has one.
    pub committed: BTreeMap<i32, i64>,
}

/// Everything that a sampler saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// Questions that nobody answered, for instance while the broker was down.
    pub unanswered: u64,
}

/// A committed offset that went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regress {
    /// The partition.
    pub partition: i32,
    /// What was committed before.
    pub from: i64,
    /// What was committed after, or `None` when the commit had vanished.
    pub to: Option<i64>,
    /// When the later answer came, on the machine's monotonic clock.
    pub at: u64,
}

impl Samples {
    /// Every step back, in the order of time.
    pub fn regressions(&self) -> Vec<Regress> {
        let steps = self.samples.windows(2).flat_map(|pair| {
            let (earlier, later) = (&pair[0], &pair[1]);
            earlier.committed.iter().filter_map(|(&partition, &from)| {
                let to = later.committed.get(&partition).copied();
                to.is_none_or(|to| to < from).then_some(Regress { partition, from, to, at: later.answered })
            })
        });
        steps.collect()
    }
}

impl CommitSampler {
    /// Asks for the group's offsets every `period` until [`CommitSampler::stop`].
    ///
    /// # Errors
    ///
    /// When the topic is not there.
    pub async fn start(kafka: &Kafka, group: &str, topic: &str, period: Duration) -> anyhow::Result<Self> {
        let offsets = kafka.group_offsets(group, topic).await?;
        let (stop, stopped) = sync_channel(1);
        let seen = Arc::<Mutex<Samples>>::default();
        let tell = Arc::clone(&seen);
        let thread = std::thread::Builder::new()
            .name("commit-sampler".to_owned())
            .spawn(move || sample(&offsets, period, &stopped, &tell))?;
        Ok(Self { stop, thread, seen })
    }

    /// What the last answer said; nothing before the first one.
    pub fn latest(&self) -> BTreeMap<i32, i64> {
        lock(&self.seen).samples.last().map(|sample| sample.committed.clone()).unwrap_or_default()
    }

    /// Takes a last sample and gives out all of them.
    ///
    /// # Errors
    ///
    /// When the sampler panicked.
    pub async fn stop(self) -> anyhow::Result<Samples> {
        drop(self.stop);
        let thread = self.thread;
        tokio::task::spawn_blocking(move || thread.join().map_err(|_| anyhow!("the commit sampler panicked")))
            .await??;
        Ok(std::mem::take(&mut lock(&self.seen)))
    }
}

fn lock(seen: &Mutex<Samples>) -> MutexGuard<'_, Samples> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sample(offsets: &GroupOffsets, period: Duration, stopped: &Receiver<()>, seen: &Mutex<Samples>) {
    loop {
        // Asked before the last look, so that the last sample is younger than the wish to stop.
        let stop = matches!(stopped.recv_timeout(period), Err(RecvTimeoutError::Disconnected));
        let asked = clock::monotonic();
        let answer = offsets.read(Duration::from_secs(5));
        let answered = clock::monotonic();
        let mut seen = lock(seen);
        match answer {
            Ok(committed) => seen.samples.push(Sample { asked, answered, committed }),
            Err(_) => seen.unanswered += 1,
        }
        if stop {
            return;
        }
    }
}
