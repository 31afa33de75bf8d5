//! Runs: the nemesis on a cluster of its own, and rows by themselves on clusters that they share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::broker::target_directory;
use support::checker::Verdict;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::group::{Group, Left};
use super::load::Produced;
use super::row::Row;
use super::setting::{Setting, name_of};
use super::site::{Kind, Site};
use super::{Options, judge, nemesis, say, scenes};

/// What a run of the nemesis is called among rows.
pub(crate) const NEMESIS: &str = "nemesis";

/// A run that was judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// How often the nemesis made each row.
    pub(crate) made: BTreeMap<Row, u32>,
    pub(crate) produced: Produced,
}

/// The folder of a seed, which keeps everything that a verdict rests on; empty.
pub(crate) fn folder(seed: u64) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(target_directory())?;
    let directory = target_directory().canonicalize()?.join("faults").join(seed.to_string());
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The nemesis for as long as the options say, kept in `folder`.
pub(crate) async fn random(options: &Options, seed: u64, folder: &Path) -> anyhow::Result<Judged> {
    let directory = folder.join(options.sabotage.as_ref().map_or_else(|| NEMESIS.to_owned(), name_of));
    fs::create_dir_all(&directory)?;
    let kind = if options.nodes == 1 { Kind::One } else { Kind::Three };
    let site = Arc::new(Site::start(kind, &directory).await?);
    let setting = setting(options)?;
    let rows: Vec<Row> = if options.only.is_empty() { Row::of_nemesis().collect() } else { options.only.clone() };
    let mut group = Group::start(&site, "m", seed, &setting, &directory).await?;
    let how_long = Duration::from_secs_f64(options.minutes * 60.0);
    let made = match nemesis::disturb(&mut group, &rows, nemesis::PAUSE, how_long).await {
        Ok(made) => made,
        Err(err) => {
            group.broken(format!("{err:#}"))?;
            BTreeMap::new()
        }
    };
    let left = group.finish(true).await?;
    let verdict = conclude(&left, &directory)?;
    Ok(Judged { name: NEMESIS.to_owned(), verdict, made, produced: left.produced })
}

fn setting(options: &Options) -> anyhow::Result<Setting> {
    let mut setting = Setting::new(options.partitions, options.rate)?;
    setting = setting.with(&["--work-ms", &options.work_ms.to_string(), "--engine", &name_of(&options.engine)]);
    setting = setting.with(&["--acks", &name_of(&options.acks)]);
    setting = setting.with(&["--threads", &options.threads.to_string()]);
    if let Some(how) = options.sabotage {
        setting = setting.with(&["--sabotage", &name_of(&how)]);
    }
    if options.block {
        setting = setting.with(&["--block"]);
    }
    let given = options.settings.iter().filter_map(|setting| setting.split_once('='));
    let mut setting = given.into_iter().try_fold(setting, |setting, (path, value)| setting.set(path, value))?;
    setting.is_cut_off = Duration::from_millis(options.work_ms) > setting.promise.revoke_timeout;
    Ok(setting)
}

fn conclude(left: &Left, directory: &Path) -> anyhow::Result<Verdict> {
    judge::keep(left, directory)?;
    judge::judge(directory)
}

/// Rows by themselves, as many at a time as are said; those that are done to brokers one after the other.
pub(crate) async fn rows(rows: &[Row], seed: u64, folder: &Path, at_once: usize) -> anyhow::Result<Vec<Judged>> {
    let mut judged = Vec::new();
    for kind in [Kind::One, Kind::Three, Kind::Mock] {
        let here: Vec<Row> = rows.iter().copied().filter(|row| row.about().site == kind).collect();
        if here.is_empty() {
            continue;
        }
        let site = Arc::new(Site::start(kind, folder).await?);
        let (alone, beside): (Vec<Row>, Vec<Row>) = here.into_iter().partition(|row| row.is_of_broker());
        let places = Arc::new(Semaphore::new(at_once));
        let mut running = JoinSet::new();
        for row in beside {
            let (site, places, folder) = (Arc::clone(&site), Arc::clone(&places), folder.to_owned());
            running.spawn(async move {
                // Nobody closes it.
                let _place = places.acquire().await;
                row_by_itself(row, &site, seed, &folder).await
            });
        }
        while let Some(one) = running.join_next().await {
            judged.push(one?);
        }
        for row in alone {
            site.bring_up().await?;
            judged.push(row_by_itself(row, &site, seed, folder).await);
        }
    }
    Ok(judged)
}

async fn row_by_itself(row: Row, site: &Arc<Site>, seed: u64, folder: &Path) -> Judged {
    let name = row.about().name.to_owned();
    say(&format!("{name}: begins"));
    let directory = folder.join(&name);
    let (verdict, produced) = match play(row, site, seed, &directory).await {
        Ok(left) => match conclude(&left, &directory) {
            Ok(verdict) => (verdict, left.produced),
            Err(err) => (judge::unfinished(&err), left.produced),
        },
        Err(err) => (judge::unfinished(&err), Produced::default()),
    };
    say(&format!("{name}: {}", if verdict.is_clean() { "clean" } else { "NOT CLEAN" }));
    judge::print(&verdict);
    Judged { name, verdict, made: BTreeMap::from([(row, 1)]), produced }
}

async fn play(row: Row, site: &Arc<Site>, seed: u64, directory: &Path) -> anyhow::Result<Left> {
    fs::create_dir_all(directory)?;
    let setting = scenes::setting(row)?;
    let mut group = Group::start(site, row.about().name, seed, &setting, directory).await?;
    let topic_is_there = match scenes::play(row, &mut group).await {
        Ok(topic_is_there) => topic_is_there,
        Err(err) => {
            group.broken(format!("{err:#}"))?;
            site.bring_up().await?;
            true
        }
    };
    group.finish(topic_is_there).await
}
