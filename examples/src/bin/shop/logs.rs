//! Where the log goes: under the table on a terminal, to standard error elsewhere.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use crate::ledger::lock;

/// How many lines stay under the table.
const LINES: usize = 6;

/// Installs the log. With `under_table` its last lines are to be had from what this returns.
pub(crate) fn install(under_table: bool) -> Option<LogTail> {
    let log = tracing_subscriber::fmt().with_target(false);
    if under_table {
        let tail = LogTail::default();
        log.with_ansi(false).with_writer(tail.clone()).init();
        Some(tail)
    } else {
        log.with_ansi(false).with_writer(io::stderr).init();
        None
    }
}

/// The last lines of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }
}

impl io::Write for LogTail {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut lines = lock(&self.0);
        for line in String::from_utf8_lossy(text).lines() {
            lines.push_back(line.to_owned());
        }
        let surplus = lines.len().saturating_sub(LINES);
        lines.drain(..surplus);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogTail {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn keeps_the_last_lines() {
        let mut tail = LogTail::default();
        for line in 1..=8 {
            tail.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        assert_eq!(tail.lines().first().map(String::as_str), Some("line 3"));
        assert_eq!(tail.lines().len(), LINES);
    }
}
