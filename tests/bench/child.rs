//! Runs a subject in a process of its own and reads what it prints.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::protocol::{Assignment, CONSUMING, Figures};
use crate::rivals;

/// A subject gives up by itself after a minute; this is for one that cannot.
const DEADLINE: Duration = Duration::from_secs(150);

/// Runs the subject as it is.
///
/// `consuming` becomes true once it has handled its first record.
pub(crate) async fn run(assignment: &Assignment, consuming: &Arc<AtomicBool>) -> anyhow::Result<Figures> {
    run_under(&[], assignment, consuming).await
}

/// Runs the subject under another program, given with its arguments.
pub(crate) async fn run_under(
    program: &[OsString],
    assignment: &Assignment,
    consuming: &Arc<AtomicBool>,
) -> anyhow::Result<Figures> {
    let mut child = command(program, assignment)?.stdout(Stdio::piped()).spawn().context("start a subject")?;
    let mut lines = BufReader::new(child.stdout.take().context("read a subject")?).lines();
    let name = assignment.subject.name();
    let printed = async {
        let mut figures = None;
        while let Some(line) = lines.next_line().await? {
            if line == CONSUMING {
                consuming.store(true, Ordering::Release);
            } else {
                figures = Some(serde_json::from_str(&line).with_context(|| format!("read `{line}` of `{name}`"))?);
            }
        }
        anyhow::Ok((figures, child.wait().await?))
    };
    let (figures, status) =
        tokio::time::timeout(DEADLINE, printed).await.with_context(|| format!("subject `{name}` does not end"))??;
    anyhow::ensure!(status.success(), "subject `{name}` failed: {status}");
    figures.with_context(|| format!("subject `{name}` printed no figures"))
}

/// The command of a subject, under another program where one is given.
pub(crate) fn command(program: &[OsString], assignment: &Assignment) -> anyhow::Result<Command> {
    let subject = rivals::program(assignment.subject)?;
    let mut line = program.iter().chain(&subject);
    let mut command = Command::new(line.next().context("a subject is a program")?);
    command.args(line).args(assignment.to_arguments()?).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}
