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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_child_is_killed_when_the_pipe_closes_and_spared_when_it_was_let_go() {
        let (mut tied, mut spared) = (sleeper(), sleeper());
        let mut of_tied = Leash::tie(Pid::from_child(&tied)).unwrap();
        let mut of_spared = Leash::tie(Pid::from_child(&spared)).unwrap();

        of_spared.untie();
        // What the kernel does when the owner is gone.
        drop(of_tied.0.stdin.take());

        assert_eq!(tied.wait().unwrap().signal(), Some(9));
        assert!(spared.try_wait().unwrap().is_none());
        of_tied.0.wait().unwrap();
        spared.kill().unwrap();
        spared.wait().unwrap();
    }
}
