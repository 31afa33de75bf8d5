//! A subject as a member of a group that others join and leave.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::child;
use crate::measure::monotonic_nanos;
use crate::protocol::Assignment;

const DEADLINE: Duration = Duration::from_secs(60);

/// A subject that traces what it handles and is one member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    child: Child,
    file: PathBuf,
    started: u64,
}

impl Member {
    /// Starts `assignment`, which is to trace into `file`.
    pub(crate) fn start(assignment: &Assignment, file: &Path) -> anyhow::Result<Self> {
        let started = monotonic_nanos();
        let child = child::command(&[], assignment)?.stdout(Stdio::null()).spawn().context("start a member")?;
        Ok(Self { child, file: file.to_owned(), started })
    }

    /// When it was started, by the clock of the trace.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// What it has handled until now.
    pub(crate) fn trace(&self) -> anyhow::Result<Vec<Handled>> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err).with_context(|| format!("read `{}`", self.file.display())),
        };
        // A line is written at once, but may be read in the middle.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(Handled::from_line).collect()
    }

    /// Waits until `condition` holds of what it has handled.
    pub(crate) async fn until(&mut self, condition: impl Fn(&[Handled]) -> bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !condition(&self.trace()?) {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("a member ended: {status}");
            }
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "a member does not handle what it should");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGTERM, and waits for its end; answers how long that took.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<Duration> {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("the member has ended")?;
        let told = Instant::now();
        kill_process(id, Signal::TERM).context("stop a member")?;
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.context("a member does not stop")??;
        let took = told.elapsed();
        // The JVM says by 143 that a signal was the reason.
        anyhow::ensure!(
            status.success() || status.code() == Some(143),
            "a member that was stopped ended with {status}"
        );
        Ok(took)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill a member")
    }
}

/// A record that a member handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handled {
    pub(crate) partition: i32,
    /// Its number in the partition, from 0.
    pub(crate) number: u64,
    /// Nanoseconds of the monotonic clock.
    pub(crate) at: u64,
}

impl Handled {
    fn from_line(line: &str) -> anyhow::Result<Self> {
        let mut fields = line.split(' ');
        let mut next = || fields.next().with_context(|| format!("`{line}` is no line of a trace"));
        Ok(Self { partition: next()?.parse()?, number: next()?.parse()?, at: next()?.parse()? })
    }
}
