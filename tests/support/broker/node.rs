//! One Kafka node as a child process that cannot outlive its owner.
//!
//! The node runs under `keeper.sh`, which holds the other end of a pipe: when this process ends, killed or not, the
//! pipe closes, the keeper kills the node and removes its data.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::sync::watch;

use super::distribution::Distribution;

const KEEPER: &str = include_str!("../../kafka/keeper.sh");
const LOGGING: &str = include_str!("../../kafka/log4j2.properties");

/// How long a node may take to format, to begin and to end: a JVM takes seconds of a processor that may be shared.
const PROCESS_DEADLINE: Duration = Duration::from_secs(240);

/// What the keeper said last. `New` → `Running` → `Ended` → `Running` …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    New,
    Running(Pid),
    Ended { code: i32 },
}

/// One node of a [`Cluster`](super::Cluster).
#[derive(Debug)]
pub(super) struct Node {
    id: usize,
    keeper: Child,
    /// Closing it is what ends the node; `None` only while dropping.
    starts: Mutex<Option<ChildStdin>>,
    process: watch::Receiver<Process>,
    log: PathBuf,
    data: TempDir,
}

/// What the processes of a node are told at their start.
#[derive(Debug)]
pub(super) struct NodeSettings<'a> {
    pub(super) id: usize,
    pub(super) cluster_id: &'a str,
    /// Kafka's own keys; `log.dirs` is added here.
    pub(super) properties: &'a [(String, String)],
    pub(super) heap: &'a str,
    /// Where the node's log goes; by default it dies with the data.
    pub(super) log_directory: Option<&'a Path>,
}

impl Node {
    /// Lays out the data directory and starts the keeper; [`Node::start`] starts Kafka.
    pub(super) fn new(kafka: &Distribution, settings: &NodeSettings<'_>) -> anyhow::Result<Self> {
        let id = settings.id;
        let data = tempfile::Builder::new().prefix("kafka-node-").tempdir()?;
        let config = data.path().join("server.properties");
        let mut lines = vec![format!("log.dirs={}", data.path().join("log").display())];
        lines.extend(settings.properties.iter().map(|(key, value)| format!("{key}={value}")));
        fs::write(&config, lines.join("\n"))?;
        let logging = data.path().join("log4j2.properties");
        fs::write(&logging, LOGGING)?;
        let script = data.path().join("keeper.sh");
        fs::write(&script, KEEPER)?;
        let log = settings.log_directory.unwrap_or(data.path()).join(format!("node-{id}.log"));

        let mut keeper = Command::new("sh")
            .arg(&script)
            .args([data.path(), &log])
            .arg(settings.cluster_id)
            .arg(&config)
            .arg(&kafka.java)
            .args([format!("-Xmx{}", settings.heap), format!("-Dlog4j2.configurationFile={}", logging.display())])
            // 2 cores and short lives: the parallel collector's threads and the second compiler's warm-up do not pay.
            .args(["-Xms128m", "-XX:+UseSerialGC", "-cp", &kafka.class_path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C on the terminal is for the tests; the node goes when they are gone.
            .process_group(0)
            .spawn()
            .context("run `sh`")?;
        let starts = keeper.stdin.take();
        let said = keeper.stdout.take().context("the keeper has no stdout")?;
        let (tell, process) = watch::channel(Process::New);
        std::thread::Builder::new().name(format!("kafka-node-{id}")).spawn(move || follow(said, &tell))?;
        Ok(Self { id, keeper, starts: Mutex::new(starts), process, log, data })
    }

    /// Starts Kafka on the node's data; returns when the process is there, which is before it listens.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        let before = *self.process.borrow();
        ensure!(!matches!(before, Process::Running(_)), "node {} runs already", self.id);
        {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let pipe = starts.as_mut().context("the node is being dropped")?;
            pipe.write_all(b"start\n").context("the keeper is gone")?;
        }
        self.wait_until("started", |now| now != before).await?;
        self.check_running()
    }

    /// The error of a node that ended by itself, with the end of its log.
    pub(super) fn check_running(&self) -> anyhow::Result<()> {
        match *self.process.borrow() {
            Process::Running(_) => Ok(()),
            Process::New => bail!("node {} was never started", self.id),
            Process::Ended { code } => bail!("node {} ended with {code}:\n{}", self.id, self.last_words()),
        }
    }

    /// Stops Kafka as an operator does: SIGTERM, then waits until it is gone.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.wait_for_end().await
    }

    /// kill -9.
    pub(super) async fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_for_end().await
    }

    /// SIGSTOP: connections stay open, nobody answers.
    ///
    /// Returns when it has really stopped: the signal reaches a thread only when that is next interrupted, and on a busy
    /// machine a JVM answers a request or two until then.
    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        const DEADLINE: Duration = Duration::from_secs(60);
        self.signal(Signal::STOP)?;
        let pid = self.pid().with_context(|| format!("node {} is not running", self.id))?;
        let give_up = Instant::now() + DEADLINE;
        while !is_stopped(pid)? {
            ensure!(Instant::now() < give_up, "node {} has not stopped within {DEADLINE:?}", self.id);
            std::thread::yield_now();
        }
        Ok(())
    }

    pub(super) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(*self.process.borrow(), Process::Running(_))
    }

    /// The process id of the running JVM.
    pub(super) fn pid(&self) -> Option<u32> {
        match *self.process.borrow() {
            Process::Running(pid) => u32::try_from(pid.as_raw_nonzero().get()).ok(),
            Process::New | Process::Ended { .. } => None,
        }
    }

    pub(super) fn data_directory(&self) -> PathBuf {
        self.data.path().join("log")
    }

    /// Whether the log says that the node lost the race for its port.
    pub(super) fn lost_its_port(&self) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains("Address already in use"))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Process::Running(pid) = *self.process.borrow() else {
            bail!("node {} is not running", self.id);
        };
        rustix::process::kill_process(pid, signal).with_context(|| format!("signal node {}", self.id))
    }

    async fn wait_for_end(&self) -> anyhow::Result<()> {
        self.wait_until("ended", |now| matches!(now, Process::Ended { .. })).await
    }

    async fn wait_until(&self, what: &str, mut reached: impl FnMut(Process) -> bool) -> anyhow::Result<()> {
        let mut process = self.process.clone();
        let waited = tokio::time::timeout(PROCESS_DEADLINE, process.wait_for(|now| reached(*now))).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("node {}: its keeper is gone", self.id),
            Err(_) => bail!("node {} has not {what} within {PROCESS_DEADLINE:?}:\n{}", self.id, self.last_words()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.starts.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // The keeper kills with SIGKILL, so this takes milliseconds.
        if let Err(err) = self.keeper.wait() {
            tracing::error!(node = self.id, error = %err, "cannot wait for the keeper of a node");
        }
    }
}

/// Turns the keeper's lines into states until it is gone.
fn follow(said: ChildStdout, tell: &watch::Sender<Process>) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        let Some((word, number)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse::<i32>() else { continue };
        match (word, Pid::from_raw(number)) {
            ("started", Some(pid)) => tell.send_replace(Process::Running(pid)),
            ("exited", _) => tell.send_replace(Process::Ended { code: number }),
            _ => continue,
        };
    }
}

/// Whether every thread of a process is stopped by a signal.
fn is_stopped(pid: u32) -> anyhow::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("list the threads of {pid}"))? {
        // A thread that is gone meanwhile was not stopped.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { return Ok(false) };
        // The name before the state is in parentheses and may hold anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}
