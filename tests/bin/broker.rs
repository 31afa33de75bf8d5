//! A Kafka to try things on: `cargo run --bin broker -- [--nodes 3]` prints its address as JSON and keeps it until
//! Ctrl-C, or an hour. Its data go with it.

use std::io::Write as _;
use std::time::Duration;

use clap::Parser;
use support::Cluster;

/// Runs an Apache Kafka on the loopback interface until it is interrupted.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many nodes.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// It ends by itself after so many minutes: a forgotten one is in everybody's way.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cluster = Cluster::start(arguments.nodes).await?;
    let nodes = 1..=cluster.nodes();
    let started = serde_json::json!({
        "bootstrap_servers": cluster.bootstrap_servers(),
        "pids": nodes.clone().map(|node| cluster.pid(node)).collect::<Vec<_>>(),
        "data": nodes.map(|node| cluster.data_directory(node)).collect::<anyhow::Result<Vec<_>>>()?,
    });
    writeln!(std::io::stdout(), "{started}")?;
    let limit = Duration::from_secs(arguments.minutes * 60);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        () = tokio::time::sleep(limit) => Ok(()),
    }
}
