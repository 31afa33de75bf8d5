//! The command line, and which cluster it and the configuration file mean.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use serde::Deserialize;

use crate::cluster::EMBEDDED_ORDERS;

/// One ORDER topic, three services, each a consumer group of its own with its own speed and failures.
#[derive(Clone, Debug, Parser)]
#[command(name = "shop")]
pub(crate) struct Options {
    /// A real cluster, instead of the broker inside this process.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Option<String>,

    /// Produce this many orders as fast as possible and stop when they are handled.
    ///
    /// Without it orders come until Ctrl-C, 500 a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) orders: Option<u32>,

    /// Print the figures of the run as one line of JSON, the last one.
    #[arg(long)]
    pub(crate) json: bool,

    /// Let the notification service fail every time.
    #[arg(long)]
    pub(crate) fail_notifications: bool,

    /// The listeners' configuration file; with `kafka.bootstrap_servers` in it, the shop uses that cluster.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/shop/shop.toml"))]
    pub(crate) config: PathBuf,
}

impl Options {
    /// The real cluster to use, from the command line or the file; `None` for the embedded broker.
    pub(crate) fn real_cluster(&self) -> anyhow::Result<Option<String>> {
        if self.bootstrap.is_some() {
            return Ok(self.bootstrap.clone());
        }
        let text = std::fs::read_to_string(&self.config)
            .with_context(|| format!("read the configuration file `{}`", self.config.display()))?;
        let servers = servers_in(&text).with_context(|| format!("find the cluster in `{}`", self.config.display()))?;
        // The listeners would resolve a placeholder, but the shop's own producer and reader connect as well.
        ensure!(
            servers.as_ref().is_none_or(|servers| !servers.contains("${")),
            "`kafka.bootstrap_servers` in `{}` has a placeholder: write the address, or give `--bootstrap`",
            self.config.display()
        );
        Ok(servers)
    }

    /// Ends the process as for any wrong argument.
    pub(crate) fn refuse_what_the_embedded_broker_cannot_keep(&self) {
        if let Some(orders) = self.orders.filter(|orders| *orders > EMBEDDED_ORDERS) {
            let why = format!(
                "the embedded broker keeps {EMBEDDED_ORDERS} orders, not `{orders}`: give `--orders` that many at most, \
                 or a real cluster with `--bootstrap HOST:PORT`"
            );
            Self::command().error(ErrorKind::ValueValidation, why).exit();
        }
    }
}

fn servers_in(text: &str) -> Result<Option<String>, toml::de::Error> {
    #[derive(Default, Deserialize)]
    struct File {
        #[serde(default)]
        kafka: Kafka,
    }
    #[derive(Default, Deserialize)]
    struct Kafka {
        bootstrap_servers: Option<Servers>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Servers {
        One(String),
        Several(Vec<String>),
    }
    Ok(toml::from_str::<File>(text)?.kafka.bootstrap_servers.map(|servers| match servers {
        Servers::One(server) => server,
        Servers::Several(servers) => servers.join(","),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_name_a_cluster() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(servers_in(text).unwrap().as_deref(), expected);
        check(include_str!("shop.toml"), None);
        check("[listener]\nconcurrency = 3", None);
        check("kafka.bootstrap_servers = \"a:1\"", Some("a:1"));
        check("[kafka]\nbootstrap_servers = [\"a:1\", \"b:2\"]", Some("a:1,b:2"));
    }
}
