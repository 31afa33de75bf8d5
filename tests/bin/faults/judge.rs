//! Runs, keeps what the verdict rests on, and says the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use support::broker::target_directory;
use support::checker::{self, History, Promise, Verdict};

use super::run::{self, Finished, TOPIC};
use super::{Options, say};

/// How many findings are printed; all of them are in the file.
const PRINTED: usize = 20;

const CONTENT: &str = "content.json";
const SAMPLES: &str = "samples.json";
const PROMISE: &str = "promise.json";
const VERDICT: &str = "verdict.json";

/// Makes a run and judges it. Whether nothing was found.
pub(crate) async fn run_and_judge(options: &Options) -> anyhow::Result<bool> {
    Ok(verdict_of(options).await?.is_clean())
}

/// Makes a run, says what happened, and judges it.
pub(crate) async fn verdict_of(options: &Options) -> anyhow::Result<Verdict> {
    let seed = options.seed.unwrap_or_else(|| support::clock::monotonic() % 1_000_000);
    fs::create_dir_all(target_directory())?;
    let directory = target_directory().canonicalize()?.join("faults").join(seed.to_string());
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    say(&format!("seed {seed}, {} minutes, everything is kept in {}", options.minutes, directory.display()));

    let finished = run::run(options, seed, &directory).await?;
    keep(&finished, &directory).await?;
    fs::write(directory.join(PROMISE), serde_json::to_vec(&promise(options)?)?)?;
    let verdict = judge(&directory)?;

    say("row  fault           times");
    for (row, times) in &finished.rows {
        say(&format!("{:<4} {:<15} {times:>5}", row.number(), row.name()));
    }
    print(&verdict);
    let rows: BTreeMap<_, _> = finished.rows.iter().map(|(row, times)| (row.name(), times)).collect();
    let last = json!({
        "seed": seed,
        "rows": rows,
        "anomalies": by_name(&verdict),
        "worst_duplicates": verdict.worst_duplicates,
        "sent": finished.produced.sent,
        "acked": finished.produced.acked,
        "done": verdict.done,
        "starts": verdict.starts,
        "samples": finished.committed.samples.len(),
    });
    say(&last.to_string());
    Ok(verdict)
}

/// Judges a run that was kept. Whether nothing was found.
pub(crate) fn judge_again(directory: &Path) -> anyhow::Result<bool> {
    let verdict = judge(directory)?;
    print(&verdict);
    let last = json!({ "anomalies": by_name(&verdict), "worst_duplicates": verdict.worst_duplicates });
    say(&last.to_string());
    Ok(verdict.is_clean())
}

/// What the members are set up to keep: the defaults, but for what their settings change.
fn promise(options: &Options) -> anyhow::Result<Promise> {
    let mut promise = Promise::default();
    for (path, value) in options.settings.iter().filter_map(|setting| setting.split_once('=')) {
        let duration = || {
            let millis = value.strip_suffix("ms").with_context(|| format!("`{path}={value}`: in `ms`, please"))?;
            anyhow::Ok(std::time::Duration::from_millis(millis.parse()?))
        };
        match path {
            "listener.revoke_timeout" => promise.revoke_timeout = duration()?,
            "listener.commit_interval" => promise.commit_interval = duration()?,
            "listener.max_commit_delay" => promise.max_commit_delay = duration()?,
            "listener.shutdown_timeout" => promise.shutdown_timeout = duration()?,
            _ => {}
        }
    }
    Ok(promise)
}

/// Reads the topic from its start with a reader of its own, and keeps that with the committed offsets.
async fn keep(finished: &Finished, directory: &Path) -> anyhow::Result<()> {
    let content = checker::content_of(&finished.cluster, TOPIC).await?;
    fs::write(directory.join(CONTENT), serde_json::to_vec(&content)?)?;
    let samples = BTreeMap::from([(TOPIC, &finished.committed)]);
    Ok(fs::write(directory.join(SAMPLES), serde_json::to_vec(&samples)?)?)
}

/// Judges by nothing but the files of a run.
fn judge(directory: &Path) -> anyhow::Result<Verdict> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))
    };
    let history = History {
        events: checker::events_in(directory)?,
        content: serde_json::from_str(&read(CONTENT)?)?,
        samples: serde_json::from_str(&read(SAMPLES)?)?,
    };
    let promise: Promise = serde_json::from_str(&read(PROMISE)?)?;
    let verdict = checker::check(&history, &promise);
    fs::write(directory.join(VERDICT), serde_json::to_vec_pretty(&verdict)?)?;
    Ok(verdict)
}

fn print(verdict: &Verdict) {
    for finding in verdict.findings.iter().take(PRINTED) {
        say(&format!("{}: {}", finding.anomaly, finding.detail));
    }
    if verdict.findings.len() > PRINTED {
        say(&format!("… and {} more in {VERDICT}", verdict.findings.len() - PRINTED));
    }
}

fn by_name(verdict: &Verdict) -> BTreeMap<String, usize> {
    verdict.by_name().into_iter().map(|(anomaly, count)| (anomaly.to_string(), count)).collect()
}
