//! Ties a child process to this one: it is killed when this process ends, however that happens.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::Pid;

/// Kills unless it was let go: a line on stdin lets go, its end means that the owner is gone.
const SCRIPT: &str = r#"read -r _ || kill -9 "$1""#;

#[derive(Debug)]
pub(super) struct Leash(Child);

impl Leash {
    pub(super) fn tie(pid: Pid) -> anyhow::Result<Self> {
        let holder = Command::new("sh")
            .args(["-c", SCRIPT, "leash", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("run `sh`")?;
        Ok(Self(holder))
    }

    /// Lets go of a process that has ended and been waited for: its id may belong to another one soon.
    pub(super) fn untie(&mut self) {
        let Some(mut pipe) = self.0.stdin.take() else { return };
        let untied = pipe.write_all(b"untied\n").and_then(|()| self.0.wait());
        if let Err(err) = untied {
            tracing::error!(error = %err, "cannot let go of a child process");
        }
    }
}
