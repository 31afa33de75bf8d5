//! What is said of runs: a table for people, one JSON object for machines, and a line per run for the record.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use support::checker::Duplicates;

use super::row::Row;
use super::run::{self, Judged};
use super::{Options, judge, say};

/// Rows run at a time in the gate: they mostly wait.
const GATE_AT_ONCE: usize = 4;

/// A line of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The row's name, or `nemesis`.
    pub(crate) row: String,
    pub(crate) seed: u64,
    /// Seconds since 1970, at its end.
    pub(crate) at: u64,
    pub(crate) optimized: bool,
    pub(crate) anomalies: BTreeMap<String, usize>,
    /// Those nearest to their bound.
    pub(crate) repeats: usize,
    pub(crate) bound: usize,
    /// The longest that a partition with work stood still while no broker was at fault.
    pub(crate) stood_still_ms: u64,
    pub(crate) done: usize,
    pub(crate) starts: usize,
}

/// The nemesis, or rows by themselves where it cannot make them. Whether nothing was found.
pub(crate) async fn random(options: &Options) -> anyhow::Result<bool> {
    let by_itself = |row: &&Row| row.about().weight == 0;
    if !options.only.is_empty() && options.only.iter().all(|row| by_itself(&row)) {
        return rows(&options.only, options.seed, 1, 1, options.record.as_deref()).await;
    }
    if let Some(row) = options.only.iter().find(by_itself) {
        anyhow::bail!("`{}` is run by itself, and others here are made by the nemesis", row.about().name);
    }
    let seed = options.seed.unwrap_or_else(any_seed);
    let folder = run::folder(seed)?;
    say(&format!("seed {seed}, {} minutes, everything is kept in {}", options.minutes, folder.display()));
    let judged = run::random(options, seed, &folder).await?;
    judge::print(&judged.verdict);
    conclude(seed, &[judged], options.record.as_deref())
}

/// Rows by themselves, so many times. Whether nothing was found.
pub(crate) async fn rows(
    rows: &[Row],
    seed: Option<u64>,
    times: u64,
    at_once: usize,
    record: Option<&Path>,
) -> anyhow::Result<bool> {
    let first = seed.unwrap_or_else(any_seed);
    let mut clean = true;
    for seed in first..first + times {
        let folder = run::folder(seed)?;
        say(&format!("seed {seed}, everything is kept in {}", folder.display()));
        let judged = run::rows(rows, seed, &folder, at_once).await?;
        clean &= conclude(seed, &judged, record)?;
    }
    Ok(clean)
}

/// What every change has to pass. Whether nothing was found.
pub(crate) async fn gate(seed: Option<u64>, record: Option<&Path>) -> anyhow::Result<bool> {
    // The same for an hour, so that whoever tries again meets the same faults.
    let seed = seed.unwrap_or_else(|| support::clock::wall() / 3_600_000);
    say(&format!("seed {seed}; once more with: cargo run --bin faults -- gate --seed {seed}"));
    let folder = run::folder(seed)?;
    let mut judged = vec![run::random(&Options::of_gate(), seed, &folder).await?];
    judge::print(&judged[0].verdict);
    let rows: Vec<Row> = Row::ALL.into_iter().filter(|row| row.about().in_gate).collect();
    judged.extend(run::rows(&rows, seed, &folder, GATE_AT_ONCE).await?);
    conclude(seed, &judged, record)
}

fn any_seed() -> u64 {
    support::clock::monotonic() % 1_000_000
}

/// Prints the table and the last line, and writes the record. Whether nothing was found.
fn conclude(seed: u64, judged: &[Judged], record: Option<&Path>) -> anyhow::Result<bool> {
    let mut anomalies = BTreeMap::<String, usize>::new();
    let mut made = BTreeMap::<&str, u32>::new();
    let mut worst = Duplicates::default();
    say("row                       times  repeats of bound  stood still  verdict");
    for one in judged {
        let (verdict, found) = (&one.verdict, judge::by_name(&one.verdict));
        for (row, times) in &one.made {
            *made.entry(row.about().name).or_default() += times;
        }
        let duplicates = &verdict.worst_duplicates;
        let said = if found.is_empty() { "clean".to_owned() } else { format!("{found:?}") };
        let repeats = format!("{} of {}", duplicates.repeats, duplicates.bound);
        let times: u32 = one.made.values().sum();
        say(&format!(
            "{:<25} {times:>5}  {repeats:>16}  {:>9.1} s  {said}",
            one.name,
            verdict.stood_still.as_secs_f64()
        ));
        for (anomaly, count) in found {
            *anomalies.entry(anomaly).or_default() += count;
        }
        if worst.repeats == 0 || duplicates.excess() > worst.excess() {
            worst = duplicates.clone();
        }
        if let Some(record) = record {
            append(record, &line(seed, one))?;
        }
    }
    let sum = |count: fn(&Judged) -> u64| judged.iter().map(count).sum::<u64>();
    let last = json!({
        "seed": seed,
        "rows": made,
        "anomalies": anomalies,
        "worst_duplicates": worst,
        "sent": sum(|one| one.produced.sent),
        "acked": sum(|one| one.produced.acked),
        "done": sum(|one| one.verdict.done as u64),
        "starts": sum(|one| one.verdict.starts as u64),
    });
    say(&last.to_string());
    Ok(anomalies.is_empty())
}

fn line(seed: u64, judged: &Judged) -> Line {
    let verdict = &judged.verdict;
    Line {
        row: judged.name.clone(),
        seed,
        at: support::clock::wall() / 1_000,
        optimized: !cfg!(debug_assertions),
        anomalies: judge::by_name(verdict),
        repeats: verdict.worst_duplicates.repeats,
        bound: verdict.worst_duplicates.bound,
        stood_still_ms: u64::try_from(verdict.stood_still.as_millis()).unwrap_or(u64::MAX),
        done: verdict.done,
        starts: verdict.starts,
    }
}

fn append(record: &Path, line: &Line) -> anyhow::Result<()> {
    if let Some(folder) = record.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(record)?;
    Ok(file.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?)
}
