//! Members as child processes: started, followed through their event logs, signalled, and judged by how they end.

mod leash;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions};

use self::leash::Leash;
use crate::SOON;
use crate::clock;
use crate::event::{self, Event, EventLog, Signal, What};

/// How often a member is looked at.
const STEP: Duration = Duration::from_millis(20);

/// What every member of a run has in common.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// The program and its first arguments: the `member` binary, or one that can act as it.
    pub program: Vec<OsString>,
    /// The cluster.
    pub bootstrap_servers: String,
    /// The topic to listen to.
    pub topic: String,
    /// The group to join.
    pub group: String,
    /// Further arguments of the member, such as `--work-ms 5` or `--set listener.session_timeout=6s`.
    pub arguments: Vec<String>,
    /// Where its event log (`NAME.jsonl`) and its own log (`NAME.log`) go.
    pub directory: PathBuf,
    /// The harness's own event log, which is told of signals and exits.
    pub harness: Option<Arc<EventLog>>,
}

impl MemberOptions {
    /// Members of `group` on `topic`, with their logs in `directory`.
    pub fn new(program: impl Into<OsString>, kafka: &crate::Kafka, topic: &str, group: &str, directory: &Path) -> Self {
        Self {
            program: vec![program.into()],
            bootstrap_servers: kafka.bootstrap_servers().to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            arguments: Vec::new(),
            directory: directory.to_owned(),
            harness: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<I: IntoIterator<Item: Into<String>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a setting of the library, such as `listener.session_timeout` to `6s`.
    #[must_use]
    pub fn set(self, path: &str, value: &str) -> Self {
        self.with(["--set".to_owned(), format!("{path}={value}")])
    }
}

/// One life of a member process. It is killed when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Member {
    name: String,
    child: Child,
    pid: Pid,
    leash: Leash,
    events: PathBuf,
    log: PathBuf,
    harness: Option<Arc<EventLog>>,
    exit: Option<Exit>,
    /// When it ended, however late somebody looks.
    ended: Arc<OnceLock<u64>>,
    assigned: OnceLock<()>,
}

/// How a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it; 11 is always a fault.
    pub signal: Option<i32>,
}

impl Exit {
    /// It ended by itself and said that all is well.
    pub fn is_clean(self) -> bool {
        self.code == Some(0)
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl Member {
    /// Starts a member under a name that no other life of a member has in this directory.
    ///
    /// # Errors
    ///
    /// When the program cannot be run.
    pub fn spawn(name: &str, options: &MemberOptions) -> anyhow::Result<Self> {
        let (program, first) = options.program.split_first().context("no program for the member")?;
        let events = options.directory.join(format!("{name}.jsonl"));
        let log = options.directory.join(format!("{name}.log"));
        ensure!(!events.exists(), "there was a member `{name}` already");
        let child = Command::new(program)
            .args(first)
            .args(["--name", name, "--bootstrap", &options.bootstrap_servers])
            .args(["--topic", &options.topic, "--group", &options.group])
            .arg("--events")
            .arg(&events)
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            // A Ctrl-C on the terminal is for the tests; members go when they are gone.
            .process_group(0)
            .spawn()
            .with_context(|| format!("run `{}`", program.display()))?;
        let pid = Pid::from_child(&child);
        let leash = Leash::tie(pid)?;
        let ended = watch(pid)?;
        let (name, harness) = (name.to_owned(), options.harness.clone());
        Ok(Self { name, child, pid, leash, events, log, harness, exit: None, ended, assigned: OnceLock::new() })
    }

    /// Its name in the event logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its events so far.
    ///
    /// # Errors
    ///
    /// When its log holds something else.
    pub fn events(&self) -> anyhow::Result<Vec<Event>> {
        if !self.events.exists() {
            return Ok(Vec::new());
        }
        event::parse(&std::fs::read_to_string(&self.events)?)
    }

    /// Waits until its events say so.
    ///
    /// # Errors
    ///
    /// When they do not within the deadline, or the member ends before.
    pub async fn wait_for(
        &mut self,
        deadline: Duration,
        what: &str,
        said: impl Fn(&[Event]) -> bool,
    ) -> anyhow::Result<()> {
        let give_up = Instant::now() + deadline;
        loop {
            // Asked before the events are read: what a member wrote before its end counts.
            let ended = self.try_exit()?;
            let events = self.events()?;
            if said(&events) {
                return Ok(());
            }
            if ended.is_some() || Instant::now() > give_up {
                let last = events.last();
                bail!(
                    "{} has not said that {what}: {ended:?}, its last event is {last:?}\n{}",
                    self.name,
                    self.words()
                );
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until it was given partitions.
    ///
    /// # Errors
    ///
    /// When it was not within the deadline.
    pub async fn wait_until_assigned(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let assigned = |event: &Event| matches!(&event.what, What::Assigned { partitions } if !partitions.is_empty());
        self.wait_for(deadline, "it was given partitions", |events| events.iter().any(assigned)).await
    }

    /// Whether it was given partitions at some time.
    pub fn has_been_assigned(&self) -> bool {
        let given = |event: &Event| matches!(&event.what, What::Assigned { .. });
        if self.assigned.get().is_none() && self.events().is_ok_and(|events| events.iter().any(given)) {
            // It stays so, and its log grows too long to be read again and again.
            self.assigned.set(()).ok();
        }
        self.assigned.get().is_some()
    }

    /// Sends a signal, and tells the harness's log before.
    ///
    /// # Errors
    ///
    /// When the member has ended already.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        ensure!(self.try_exit()?.is_none(), "member {} has ended already", self.name);
        self.tell(What::Signal { member: self.name.clone(), signal })?;
        let signal = match signal {
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Cont => rustix::process::Signal::CONT,
        };
        Ok(rustix::process::kill_process(self.pid, signal)?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn try_exit(&mut self) -> anyhow::Result<Option<Exit>> {
        if self.exit.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.leash.untie();
            let exit = Exit::from(status);
            self.exit = Some(exit);
            if let Some(harness) = &self.harness {
                let exit = What::Exit { member: self.name.clone(), code: exit.code, signal: exit.signal };
                harness.write_as_of(self.ended.get().copied().unwrap_or_else(clock::monotonic), exit)?;
            }
        }
        Ok(self.exit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it has not ended within the deadline.
    pub async fn wait_for_exit(&mut self, deadline: Duration) -> anyhow::Result<Exit> {
        let give_up = Instant::now() + deadline;
        loop {
            if let Some(exit) = self.try_exit()? {
                return Ok(exit);
            }
            ensure!(
                Instant::now() < give_up,
                "member {} has not ended within {deadline:?}\n{}",
                self.name,
                self.words()
            );
            tokio::time::sleep(STEP).await;
        }
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Errors
    ///
    /// When it has not ended within the deadline.
    pub async fn stop(&mut self, deadline: Duration) -> anyhow::Result<Exit> {
        self.signal(Signal::Term)?;
        self.wait_for_exit(deadline).await
    }

    /// kill -9, then waits for its end.
    ///
    /// # Errors
    ///
    /// When it had ended already.
    pub async fn kill(&mut self) -> anyhow::Result<Exit> {
        self.signal(Signal::Kill)?;
        self.wait_for_exit(SOON).await
    }

    /// The end of its own log.
    pub fn words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn tell(&self, what: What) -> anyhow::Result<()> {
        self.harness.as_ref().map_or(Ok(()), |harness| harness.write(what))
    }
}

/// Notes when a child ends; whoever reaps it comes later, or a moment before.
fn watch(child: Pid) -> anyhow::Result<Arc<OnceLock<u64>>> {
    let ended = Arc::<OnceLock<u64>>::default();
    let tell = Arc::clone(&ended);
    std::thread::Builder::new().name(format!("member-{}", child.as_raw_nonzero())).spawn(move || {
        // An error means that it was reaped already.
        rustix::process::waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
        tell.set(clock::monotonic()).ok();
    })?;
    Ok(ended)
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.exit.is_some() {
            return;
        }
        // SIGKILL ends a frozen process too, so the wait is short.
        if let Err(err) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::error!(member = self.name, error = %err, "cannot end a member");
        }
        self.leash.untie();
    }
}
