//! CPU time, memory and the clock that all processes of the machine share.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// What this process, all threads, finished ones included, has taken from the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// How often a thread went to sleep.
    pub(crate) sleeps: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        // SAFETY: `getrusage` fills the struct that it is given; all zeros is a valid one.
        #[expect(unsafe_code, reason = "the standard library has no CPU clock of the process")]
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        Self { cpu: of(usage.ru_utime) + of(usage.ru_stime), sleeps: usage.ru_nvcsw.unsigned_abs() }
    }
}

/// Nanoseconds of the monotonic clock, comparable between processes, which `Instant` is not.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The largest resident set of this process until now.
pub(crate) fn peak_resident_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("read the memory of this process")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel tells no peak memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

fn of(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time_and_memory_and_waiting_is_a_sleep() {
        let (before, clock) = (Usage::now(), monotonic_nanos());
        let filled = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(filled.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        std::thread::park_timeout(Duration::from_millis(1));
        let after = Usage::now();
        assert!(after.cpu > before.cpu);
        assert!(after.sleeps > before.sleeps);
        assert!(monotonic_nanos() > clock);
        assert!(peak_resident_bytes().unwrap() >= 64 << 20);
    }
}
