//! Breaks the library in every way that there is and wants each of them found; and wants the same run without the fault
//! to be clean, so that a conviction means something.

use std::collections::BTreeSet;

use clap::ValueEnum as _;
use support::checker::Anomaly;

use super::row::Row;
use super::service::Sabotage;
use super::setting::name_of;
use super::{Options, judge, run, say};

/// Long enough for a dozen disturbances.
const MINUTES: f64 = 0.75;

/// Whether every fault was found and every run without one was clean.
pub(crate) async fn convict(seed: u64, only: &[Sabotage]) -> anyhow::Result<bool> {
    let folder = run::folder(seed)?;
    let is_wanted = |how: &&Sabotage| only.is_empty() || only.contains(how);
    let mut convicted = Vec::new();
    for how in Sabotage::value_variants().iter().filter(is_wanted) {
        let options = Options { sabotage: Some(*how), ..setting(*how, seed) };
        say(&format!("== {}", name_of(how)));
        let judged = run::random(&options, seed, &folder).await?;
        judge::print(&judged.verdict);
        let found: BTreeSet<Anomaly> = judged.verdict.by_name().into_keys().collect();
        convicted.push((*how, found));
    }
    let mut calm = Vec::new();
    for how in [Sabotage::NoDrain, Sabotage::NoOwnership].iter().filter(is_wanted) {
        say(&format!("== the run of {} with nothing broken", name_of(how)));
        let folder = folder.join(format!("calm-{}", name_of(how)));
        let judged = run::random(&setting(*how, seed), seed, &folder).await?;
        judge::print(&judged.verdict);
        calm.push((*how, judged.verdict.is_clean()));
    }
    say("broken on purpose      found");
    for (how, found) in &convicted {
        let names = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        say(&format!("{:<22} {}", name_of(how), if names.is_empty() { "NOTHING" } else { &names }));
    }
    for (how, is_clean) in &calm {
        say(&format!("nothing, as {:<10} {}", name_of(how), if *is_clean { "clean" } else { "NOT CLEAN" }));
    }
    Ok(convicted.iter().all(|(how, found)| found.contains(&expected(*how))) && calm.iter().all(|(_, clean)| *clean))
}

/// What the fault has to be found by, whatever else it causes.
fn expected(how: Sabotage) -> Anomaly {
    match how {
        Sabotage::CommitsAtHandOver => Anomaly::PrematureCommit,
        Sabotage::NoFence => Anomaly::CommitAfterRevoke,
        Sabotage::NoPlusOne | Sabotage::NoDrain | Sabotage::NeverCommits => Anomaly::DupOverBound,
        Sabotage::NoOwnership => Anomaly::OverlapOutsideWindow,
    }
}

/// The disturbances under which a fault shows.
fn setting(how: Sabotage, seed: u64) -> Options {
    let mut options = Options { seed: Some(seed), minutes: MINUTES, work_ms: 5, ..Options::of_gate() };
    match how {
        Sabotage::CommitsAtHandOver => options.only = vec![Row::Kill, Row::Join],
        Sabotage::NoFence | Sabotage::NoPlusOne | Sabotage::NoDrain | Sabotage::NeverCommits => {
            options.only = vec![Row::Stop, Row::Join];
        }
        // Handlers outlive the drain, and the partition goes to another consumer of the same process.
        Sabotage::NoOwnership => {
            options.only = vec![Row::Stop, Row::Join];
            (options.work_ms, options.block, options.rate, options.partitions) = (600, true, 12, 12);
            // Handlers that block shall not keep each other, or the hooks, from running.
            options.threads = 16;
            // An assignor that deals everything anew at every rebalance, to the consumers of one process too.
            let settings = ["consumers=3", "revoke_timeout=200ms", "partition_assignment_strategy=roundrobin"];
            options.settings = settings.map(|setting| format!("listener.{setting}")).to_vec();
        }
    }
    options
}
