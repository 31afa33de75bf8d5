//! One run of an example: its lines as they come, its end, and a deadline for both.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// For a whole run, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// A running example, killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: Option<JoinHandle<String>>,
    deadline: Instant,
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Child {
    pub(crate) fn spawn(program: &str, arguments: &[&str]) -> Self {
        let mut process =
            Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(1_024);
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut stderr = process.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { process, lines, seen: Vec::new(), stderr: Some(stderr), deadline: Instant::now() + DEADLINE }
    }

    /// Reads on until the lines so far satisfy `is_enough`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, is_enough: impl Fn(&[String]) -> bool) {
        while !is_enough(&self.seen) {
            assert!(self.read_line(), "ended too early: {:#?}", self.seen);
        }
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        while self.read_line() {}
        let status = self.process.wait().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Finished { status, stdout: std::mem::take(&mut self.seen), stderr }
    }

    /// `false` at the end of the output.
    #[track_caller]
    fn read_line(&mut self) -> bool {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => self.seen.push(line),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("not done in time: {:#?}", self.seen),
        }
        true
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails for a process that has ended, which is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
