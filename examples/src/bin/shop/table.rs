//! What the services are doing: a table that redraws itself on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::logs::LogTail;

/// One service's line.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) service: String,
    pub(crate) state: String,
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) in_flight: u64,
    /// `None` until the broker has said how long its log is.
    pub(crate) lag: Option<i64>,
    pub(crate) partitions: usize,
    /// The record that has waited longest, and why.
    pub(crate) waits: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    /// `Some` on a terminal, where the log must not write between the lines.
    logs: Option<LogTail>,
    /// How many lines the cursor goes up before drawing again.
    height: usize,
    drawn: Option<Instant>,
}

/// How often plain lines are printed.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

impl Table {
    pub(crate) fn new(title: String, logs: Option<LogTail>) -> Self {
        Self { title, logs, height: 0, drawn: None }
    }

    pub(crate) fn is_wanted() -> bool {
        io::stdout().is_terminal()
    }

    /// Called as often as the numbers change; draws as often as the medium bears.
    pub(crate) fn draw(&mut self, produced: u32, rows: &[Row]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if let Some(logs) = &self.logs {
            let lines = lines(&self.title, produced, rows, &logs.lines());
            if self.height > 0 {
                write!(out, "\x1b[{}A", self.height)?;
            }
            write!(out, "\r\x1b[J{NO_WRAP}{}\n{WRAP}", lines.join("\n"))?;
            self.height = lines.len();
        } else if self.drawn.is_none_or(|drawn| drawn.elapsed() >= PLAIN_INTERVAL) {
            if self.drawn.is_none() {
                writeln!(out, "{}", self.title)?;
            }
            self.drawn = Some(Instant::now());
            for row in rows {
                writeln!(out, "{}", plain(row))?;
            }
        }
        out.flush()
    }

    /// Draws once more, whenever that was done last.
    pub(crate) fn draw_last(&mut self, produced: u32, rows: &[Row]) -> io::Result<()> {
        self.drawn = self.drawn.and_then(|drawn| drawn.checked_sub(PLAIN_INTERVAL));
        self.draw(produced, rows)
    }
}

fn lines(title: &str, produced: u32, rows: &[Row], logs: &[String]) -> Vec<String> {
    let mut lines = vec![format!("{title}, {produced} produced"), String::new()];
    lines.push(format!(
        "{:<21} {:>10} {:>9} {:>7} {:>8} {:>10} {:>8} {:>11}",
        "service", "state", "handled", "failed", "retried", "in flight", "lag", "partitions"
    ));
    for row in rows {
        let Row { service, state, handled, failed, retried, in_flight, partitions, .. } = row;
        let lag = row.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
        lines.push(format!(
            "{service:<21} {state:>10} {handled:>9} {failed:>7} {retried:>8} {in_flight:>10} {lag:>8} {partitions:>11}"
        ));
    }
    lines.push(String::new());
    lines.extend(rows.iter().filter_map(|row| row.waits.clone()));
    lines.extend_from_slice(logs);
    lines
}

fn plain(row: &Row) -> String {
    let Row { service, state, handled, failed, retried, in_flight, partitions, .. } = row;
    let lag = row.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
    format!(
        "{service}: {state}, handled {handled}, failed {failed}, retried {retried}, in flight {in_flight}, lag {lag}, \
         partitions {partitions}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            service: "order-service".to_owned(),
            state: "running".to_owned(),
            handled: 812,
            failed: 4,
            retried: 3,
            in_flight: 2,
            lag: Some(188),
            partitions: 6,
            waits: Some("order-service waits at orders-3@118".to_owned()),
        }
    }

    #[test]
    fn a_row_reads_as_a_plain_line() {
        let expected = "order-service: running, handled 812, failed 4, retried 3, in flight 2, lag 188, partitions 6";
        assert_eq!(plain(&row()), expected);
        assert!(plain(&Row { lag: None, ..row() }).contains("lag unknown"));
    }

    #[test]
    fn the_table_lines_up_and_ends_with_what_waits_and_the_log() {
        let lines = lines("shop", 1_000, &[row(), Row { lag: None, ..row() }], &["a log line".to_owned()]);
        assert_eq!(lines[0], "shop, 1000 produced");
        assert_eq!(lines[2].len(), lines[3].len());
        assert_eq!(lines[3].len(), lines[4].len());
        assert_eq!(lines[6..], [row().waits.unwrap(), row().waits.unwrap(), "a log line".to_owned()]);
    }
}
