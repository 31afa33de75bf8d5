//! Keeps what a verdict rests on, and says it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use support::checker::{self, Anomaly, Finding, History, Promise, Verdict};

use super::group::Left;
use super::say;

/// How many findings are printed; all of them are in the file.
const PRINTED: usize = 20;

const CONTENT: &str = "content.json";
const SAMPLES: &str = "samples.json";
const PROMISE: &str = "promise.json";
const VERDICT: &str = "verdict.json";

/// Keeps what the members left beside their event logs.
pub(crate) fn keep(left: &Left, directory: &Path) -> anyhow::Result<()> {
    fs::write(directory.join(CONTENT), serde_json::to_vec(&left.content)?)?;
    fs::write(directory.join(SAMPLES), serde_json::to_vec(&left.samples)?)?;
    Ok(fs::write(directory.join(PROMISE), serde_json::to_vec(&left.promise)?)?)
}

/// Judges by nothing but the files of a run.
pub(crate) fn judge(directory: &Path) -> anyhow::Result<Verdict> {
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

/// The verdict on a run that the harness could not bring to its end.
pub(crate) fn unfinished(err: &anyhow::Error) -> Verdict {
    let detail = format!("the harness failed: {err:#}");
    Verdict { findings: vec![Finding { anomaly: Anomaly::PromiseBroken, detail }], ..Verdict::default() }
}

/// Judges a run that was kept. Whether nothing was found.
pub(crate) fn judge_again(directory: &Path) -> anyhow::Result<bool> {
    let verdict = judge(directory)?;
    print(&verdict);
    let last = json!({
        "anomalies": by_name(&verdict),
        "worst_duplicates": verdict.worst_duplicates,
        "stood_still_ms": verdict.stood_still.as_millis(),
    });
    say(&last.to_string());
    Ok(verdict.is_clean())
}

pub(crate) fn print(verdict: &Verdict) {
    for finding in verdict.findings.iter().take(PRINTED) {
        say(&format!("{}: {}", finding.anomaly, finding.detail));
    }
    if verdict.findings.len() > PRINTED {
        say(&format!("… and {} more in {VERDICT}", verdict.findings.len() - PRINTED));
    }
}

pub(crate) fn by_name(verdict: &Verdict) -> BTreeMap<String, usize> {
    verdict.by_name().into_iter().map(|(anomaly, count)| (anomaly.to_string(), count)).collect()
}
