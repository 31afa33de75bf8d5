//! CPU time and sleeps of each thread: who takes what a record costs, and who wakes whom for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one thread took per record between two marks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ThreadFigures {
    /// As the kernel knows it: 15 bytes at most.
    pub(crate) name: String,
    pub(crate) cpu_micros_per_record: f64,
    pub(crate) sleeps_per_record: f64,
}

/// The threads of this process at one moment, by their ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads(BTreeMap<String, ThreadUsage>);

#[derive(Debug, Clone, Default)]
struct ThreadUsage {
    name: String,
    cpu: Duration,
    sleeps: u64,
}

impl Threads {
    /// Empty where the kernel does not tell.
    pub(crate) fn now() -> Self {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        Self(threads.filter_map(|thread| Some((thread.file_name().into_string().ok()?, of(&thread.path())?))).collect())
    }

    /// Those that have run since `from`, the busiest first.
    pub(crate) fn since(&self, from: &Self, per_record: f64) -> Vec<ThreadFigures> {
        let mut figures: Vec<_> = self
            .0
            .iter()
            .map(|(id, thread)| {
                let before = from.0.get(id).cloned().unwrap_or_default();
                let sleeps = u32::try_from(thread.sleeps.saturating_sub(before.sleeps)).unwrap_or(u32::MAX);
                ThreadFigures {
                    name: thread.name.clone(),
                    cpu_micros_per_record: thread.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 * per_record,
                    sleeps_per_record: f64::from(sleeps) * per_record,
                }
            })
            .filter(|figures| figures.cpu_micros_per_record > 0.0)
            .collect();
        figures.sort_by(|one, other| other.cpu_micros_per_record.total_cmp(&one.cpu_micros_per_record));
        figures
    }
}

/// `None` when the thread has just ended.
fn of(thread: &Path) -> Option<ThreadUsage> {
    let read = |file: &str| fs::read_to_string(thread.join(file)).ok();
    let nanos = read("schedstat")?.split(' ').next()?.parse().ok()?;
    let sleeps =
        read("status")?.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())?;
    Some(ThreadUsage { name: read("comm")?.trim().to_owned(), cpu: Duration::from_nanos(nanos), sleeps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_by_its_name_and_charged_for_its_own_work() {
        let (before, after) = std::thread::Builder::new()
            .name("worker-under-it".to_owned())
            .spawn(|| {
                let before = Threads::now();
                let filled = std::hint::black_box(vec![1_u8; 64 << 20]);
                assert!(filled.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
                std::thread::park_timeout(Duration::from_millis(1));
                (before, Threads::now())
            })
            .unwrap()
            .join()
            .unwrap();
        let figures = after.since(&before, 1.0);
        let mine = figures.iter().find(|figures| figures.name == "worker-under-it").unwrap();
        assert!(mine.cpu_micros_per_record > 0.0 && mine.sleeps_per_record >= 1.0, "{mine:?}");
    }
}
