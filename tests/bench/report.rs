//! Every run as a line of JSON, and a table of what the rounds come to.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::thread;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::cases::Case;
use crate::protocol::{Figures, Subject};
use crate::statistics::{Better, Summary};
use crate::subject::SETTINGS;

/// A figure that every run has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) better: Better,
    pub(crate) decimals: usize,
}

/// One subject's run in one round.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) setting: String,
    pub(crate) subject: Subject,
    /// One per column.
    pub(crate) values: Vec<f64>,
    /// What a subject measured by itself.
    pub(crate) figures: Option<Figures>,
}

/// Where the runs of a case go.
#[derive(Debug)]
pub(crate) struct Report {
    case: Case,
    json: Option<File>,
    columns: &'static [Column],
    /// By whom the others are measured.
    measure: Subject,
    runs: Vec<Run>,
}

impl Report {
    pub(crate) fn new(case: Case, json: Option<&Path>) -> anyhow::Result<Self> {
        let json = json
            .map(|path| {
                let file = OpenOptions::new().create(true).append(true).open(path);
                file.with_context(|| format!("open `{}`", path.display()))
            })
            .transpose()?;
        Ok(Self { case, json, columns: &[], measure: Subject::Loop, runs: Vec::new() })
    }

    /// Prints on what is measured.
    pub(crate) fn begin(&mut self, columns: &'static [Column], measure: Subject) -> anyhow::Result<()> {
        self.columns = columns;
        self.measure = measure;
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("{processors} × {}, {}", described("/proc/cpuinfo", "model name"), kernel());
        let memory = described("/proc/meminfo", "MemTotal");
        let settings: BTreeMap<_, _> = SETTINGS.into_iter().collect();
        print(&format!("{}: {machine}, {memory}; librdkafka {librdkafka}", self.case.name()))?;
        print(&format!("client settings of every subject: {}", json!(settings)))?;
        self.write(&json!({
            "case": self.case.name(), "machine": machine, "memory": memory, "librdkafka": librdkafka, "client": settings,
        }))
    }

    /// Takes a run; prints a line, so that a long bench is seen to move.
    pub(crate) fn run(&mut self, run: Run) -> anyhow::Result<()> {
        let values: Vec<String> =
            self.columns.iter().zip(&run.values).map(|(column, value)| column.show(*value)).collect();
        print(&format!("  round {} {} {}: {}", run.round + 1, run.setting, run.subject.name(), values.join(", ")))?;
        self.runs.push(run);
        Ok(())
    }

    /// Prints the table of `setting` and writes its runs, each with its ratio to the measure of its round.
    pub(crate) fn summarize(&mut self, setting: &str) -> anyhow::Result<()> {
        let ratio = format!("ratio_to_{}", self.measure.name());
        for run in self.runs.iter().filter(|run| run.setting == setting) {
            let named = |values: Vec<f64>| -> BTreeMap<&str, f64> {
                self.columns.iter().map(|column| column.name).zip(values).collect()
            };
            self.write(&json!({
                "case": self.case.name(), "setting": setting, "subject": run.subject.name(), "round": run.round + 1,
                "values": named(run.values.clone()), ratio.as_str(): named(self.ratios(run)), "figures": run.figures,
            }))?;
        }
        print(&format!("\n| {setting} | {} |", self.heads().join(" | ")))?;
        print(&format!("|---|{}", "---|".repeat(self.columns.len())))?;
        for subject in self.subjects(setting) {
            let cells: Vec<Cell> =
                (0..self.columns.len()).filter_map(|column| self.cell(setting, subject, column)).collect();
            let shown: Vec<String> =
                self.columns.iter().zip(&cells).map(|(column, cell)| column.show_cell(cell)).collect();
            print(&format!("| {} | {} |", subject.name(), shown.join(" | ")))?;
            self.write(&json!({
                "case": self.case.name(), "setting": setting, "subject": subject.name(),
                "summary": self.columns.iter().map(|column| column.name).zip(&cells).collect::<BTreeMap<_, _>>(),
            }))?;
        }
        print("")
    }

    fn heads(&self) -> Vec<String> {
        self.columns.iter().map(|column| format!("{}: median (best, spread) ratio", column.name)).collect()
    }

    /// In the order of their first run.
    fn subjects(&self, setting: &str) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for run in self.runs.iter().filter(|run| run.setting == setting) {
            if !subjects.contains(&run.subject) {
                subjects.push(run.subject);
            }
        }
        subjects
    }

    fn cell(&self, setting: &str, subject: Subject, column: usize) -> Option<Cell> {
        let of_subject = || self.runs.iter().filter(|run| run.setting == setting && run.subject == subject);
        let better = self.columns[column].better;
        let figures: Vec<f64> = of_subject().map(|run| run.values[column]).collect();
        let ratios: Vec<f64> = of_subject().map(|run| self.ratios(run)[column]).collect();
        let Summary { best, median, spread } = Summary::of(&figures, better)?;
        Some(Cell { best, median, spread, ratio: Summary::of(&ratios, better)?.median })
    }

    /// Each value by the measure's in the same round and setting.
    fn ratios(&self, run: &Run) -> Vec<f64> {
        let same = |other: &&Run| other.round == run.round && other.setting == run.setting;
        let Some(measure) = self.runs.iter().filter(same).find(|other| other.subject == self.measure) else {
            return vec![f64::NAN; run.values.len()];
        };
        run.values.iter().zip(&measure.values).map(|(value, by)| value / by).collect()
    }

    fn write(&self, line: &serde_json::Value) -> anyhow::Result<()> {
        let Some(file) = &self.json else { return Ok(()) };
        let mut file: &File = file;
        writeln!(file, "{line}").context("write the JSON report")
    }
}

/// What the rounds of one subject come to in one column.
#[derive(Debug, Serialize)]
struct Cell {
    best: f64,
    median: f64,
    spread: f64,
    /// The median of each round's ratio to the measure of that round.
    ratio: f64,
}

impl Column {
    fn show_cell(&self, cell: &Cell) -> String {
        if cell.median.is_nan() {
            // Not every subject can count everything.
            return "-".to_owned();
        }
        let (median, best, spread) = (self.show(cell.median), self.show(cell.best), cell.spread * 100.0);
        format!("{median} ({best}, {spread:.0} %) {:.2}", cell.ratio)
    }

    fn show(&self, value: f64) -> String {
        if value.is_nan() {
            return "-".to_owned();
        }
        format!("{value:.*}", self.decimals)
    }
}

/// A line on standard output.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("print the report")
}

/// The value after `name :` in one of the kernel's tables.
fn described(table: &str, name: &str) -> String {
    let text = fs::read_to_string(table).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
