//! The shop: one ORDER topic, and an order, an inventory and a notification service that each handle every order.
//!
//! ```text
//! cargo run --bin shop                                    # until Ctrl-C, on a broker inside the process
//! cargo run --bin shop -- --orders 20000 --json           # so many, then the figures as the last line
//! cargo run --bin shop -- --orders 1000 --fail-notifications
//! cargo run --bin shop -- --bootstrap localhost:9092      # on a real cluster
//! ```
//!
//! The exit code is 0 only if no order was lost. Start reading at `services/`: that is what a team writes.

mod cluster;
mod ledger;
mod logs;
mod options;
mod order;
mod outside;
mod producer;
mod report;
mod services;
mod table;

use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use kafka_listener::status::{ListenerStatus, PartitionStatus};
use kafka_listener::{ListenerRegistry, ShutdownReport};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{block_in_place, spawn_blocking};

use crate::cluster::{Cluster, EMBEDDED_ORDERS};
use crate::ledger::Ledger;
use crate::options::Options;
use crate::order::RunId;
use crate::producer::{Plan, Progress};
use crate::report::{Report, Service};
use crate::services::inventory::Stock;
use crate::services::notification::Mail;
use crate::services::order::Payments;
use crate::table::{Row, Table};

/// The groups, in the order of the report.
const GROUPS: [&str; 3] = ["order-service", "inventory-service", "notification-service"];

/// Between two orders when there is no number of orders to reach.
const PAUSE: Duration = Duration::from_millis(2);

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let real_cluster = options.real_cluster()?;
    if real_cluster.is_none() {
        options.refuse_what_the_embedded_broker_cannot_keep();
    }
    let logs = logs::install(Table::is_wanted());
    let cluster = match real_cluster {
        Some(servers) => Cluster::connect(servers).await?,
        None => Cluster::start_embedded()?,
    };

    let run = RunId::random();
    let ledgers = GROUPS.map(|_| Ledger::new(run.clone()));
    let before = next_offsets(&cluster)?;
    let listeners = start_listeners(&options, &cluster, &ledgers).await?;

    let plan = plan(&options, &cluster);
    let progress = Progress::default();
    let mut table = Table::new(title(plan, &run, &cluster), logs);
    let producing = spawn_blocking({
        let (servers, run, progress) = (cluster.bootstrap_servers.clone(), run.clone(), progress.clone());
        move || producer::produce(&servers, &run, plan, &progress)
    });

    let is_done = || {
        let expected = if options.fail_notifications { &ledgers[..2] } else { &ledgers[..] };
        let all_handled = plan.orders.is_some_and(|orders| expected.iter().all(|ledger| ledger.has_all(orders)));
        all_handled || (producing.is_finished() && plan.orders != Some(progress.produced()))
    };
    watch(&listeners, &mut table, &progress, is_done).await;
    progress.stop();
    let stored = producing.await?;
    // While the listeners still have their partitions; and nobody to draw for is no reason not to stop them.
    let drawn = table.draw_last(progress.produced(), &rows(&listeners));
    let shutdown = stop(&listeners).await;

    drawn.context("draw the table")?;
    let stored = stored?;
    let after = next_offsets(&cluster)?;
    let service = |index: usize| Service::new(&ledgers[index].entries(), &stored, &before[index], &after[index]);
    let report = Report::new(stored.len(), [service(0), service(1), service(2)]);
    print(&report, options.json).context("print the report")?;

    shutdown.into_result()?;
    Ok(if report.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start_listeners(
    options: &Options,
    cluster: &Cluster,
    [order, inventory, notification]: &[Ledger; 3],
) -> anyhow::Result<ListenerRegistry> {
    let listeners = ListenerRegistry::builder()
        .config_file(&options.config)
        .set("kafka.bootstrap_servers", cluster.bootstrap_servers.as_str())
        .state(Payments::new(order.clone()))
        .state(Stock::new(inventory.clone()))
        .state(Mail::new(notification.clone(), options.fail_notifications))
        .start()
        .await?;
    Ok(listeners)
}

fn plan(options: &Options, cluster: &Cluster) -> Plan {
    match options.orders {
        Some(orders) => Plan { orders: Some(orders), pause: Duration::ZERO },
        None => Plan { orders: cluster.is_embedded().then_some(EMBEDDED_ORDERS), pause: PAUSE },
    }
}

fn title(plan: Plan, run: &RunId, cluster: &Cluster) -> String {
    let orders = plan.orders.map_or_else(|| "orders".to_owned(), |orders| format!("{orders} orders"));
    let broker = if cluster.is_embedded() { "an embedded broker" } else { "a cluster" };
    format!("shop: {orders} of run {} on {broker} at {}", run.as_str(), cluster.bootstrap_servers)
}

/// Where each group would go on, read by an outsider.
fn next_offsets(cluster: &Cluster) -> anyhow::Result<Vec<Vec<i64>>> {
    block_in_place(|| GROUPS.iter().map(|group| outside::next_offsets(cluster, group)).collect())
}

/// Draws until the run is done or somebody ends it.
async fn watch(listeners: &ListenerRegistry, table: &mut Table, progress: &Progress, is_done: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(TICK);
    let (mut interrupted, mut stopped) = (pin!(interrupted()), pin!(listeners.stopped()));
    loop {
        tokio::select! {
            () = &mut interrupted => return,
            // All of them, or one that cannot go on; the stop says which.
            () = &mut stopped => return,
            _ = tick.tick() => {
                // Nobody to draw for is a reason to stop, as Ctrl-C is.
                if table.draw(progress.produced(), &rows(listeners)).is_err() || is_done() {
                    return;
                }
            }
        }
    }
}

/// Drains, unless a second signal says that there is no time for it.
async fn stop(listeners: &ListenerRegistry) -> ShutdownReport {
    let mut shutdown = pin!(listeners.shutdown());
    tokio::select! {
        report = &mut shutdown => report,
        () = interrupted() => {
            listeners.interrupt();
            shutdown.await
        }
    }
}

/// Resolves at the next Ctrl-C or SIGTERM.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminated => {}
        else => std::future::pending().await,
    }
}

fn rows(listeners: &ListenerRegistry) -> Vec<Row> {
    let status = listeners.status();
    GROUPS.iter().filter_map(|group| status.listeners.iter().find(|one| one.group_id == *group)).map(row).collect()
}

fn row(listener: &ListenerStatus) -> Row {
    let partitions = &listener.partitions;
    let blocking = partitions.iter().filter_map(|one| Some((&one.topic_partition, one.blocking.as_ref()?)));
    let failing = blocking.filter_map(|(at, record)| Some((at, record, record.error.as_ref()?)));
    Row {
        service: listener.group_id.clone(),
        state: listener.state.to_string(),
        handled: listener.handled,
        failed: listener.failed,
        retried: listener.retried,
        in_flight: partitions.iter().map(|one| one.in_flight).sum(),
        lag: partitions.iter().map(lag).sum::<Option<i64>>().filter(|_| !partitions.is_empty()),
        partitions: partitions.len(),
        waits: failing.max_by_key(|(_, record, _)| record.age).map(|(at, record, error)| {
            let (group, offset, attempt) = (&listener.group_id, record.offset, record.attempt);
            format!("{group} waits at {at}@{offset} for {} s, attempt {attempt}: {error}", record.age.as_secs())
        }),
    }
}

/// Also for a partition whose very first record fails, so that nothing was ever committed.
fn lag(partition: &PartitionStatus) -> Option<i64> {
    partition.lag.or_else(|| Some(partition.end_offset? - partition.blocking.as_ref()?.offset))
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{report}")?;
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    }
    Ok(())
}
