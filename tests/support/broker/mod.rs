//! A real Apache Kafka for tests: one shared broker per test binary, and clusters of its own for a test that stops,
//! kills or freezes nodes.

mod distribution;
mod node;

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::Context as _;

use self::distribution::Distribution;
pub use self::distribution::target_directory;
use self::node::{Node, NodeSettings};
use crate::kafka::Kafka;
use crate::proxy::Proxy;
use crate::unique::random;

/// How long a cluster may take from its processes to its first answer, on a machine that has a lot else to do.
const START_DEADLINE: Duration = Duration::from_secs(240);

/// Ports are chosen below the range that the kernel takes outgoing connections from: a node that is down for a while
/// finds its port free again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The broker that the tests of one binary share: the cluster at `KAFKA_BOOTSTRAP_SERVERS`, or one started now.
///
/// # Panics
///
/// When there is no Kafka to be had: such tests fail, they are never skipped.
pub fn broker() -> &'static Kafka {
    static BROKER: OnceLock<anyhow::Result<Shared>> = OnceLock::new();

    let shared = BROKER.get_or_init(|| match env::var("KAFKA_BOOTSTRAP_SERVERS") {
        Ok(servers) if !servers.is_empty() => Ok(Shared::Existing(Kafka::new(servers))),
        _ => own().map(Shared::Own),
    });
    match shared {
        Ok(Shared::Existing(kafka)) => kafka,
        Ok(Shared::Own(cluster)) => cluster,
        #[expect(clippy::panic, reason = "a test without its broker fails, here with the reason")]
        Err(err) => panic!("{err:#}"),
    }
}

/// A broker behind a fault proxy, shared as [`broker`] is, and the same one where that is started here. Its faults are to
/// name a client, so that they hit nobody else.
///
/// # Panics
///
/// As [`broker`].
pub fn proxied_broker() -> &'static Cluster {
    own().unwrap_or_else(|err| {
        #[expect(clippy::panic, reason = "a test without its broker fails, here with the reason")]
        {
            panic!("{err:#}")
        }
    })
}

/// The one broker that this process starts for all of its tests.
fn own() -> anyhow::Result<&'static Cluster> {
    static OWN: OnceLock<Result<Cluster, String>> = OnceLock::new();

    // On a thread of its own: the caller may be inside a runtime.
    let started = OWN.get_or_init(|| {
        thread::scope(|scope| {
            let started = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                // Nobody takes over from it, so it need not notice soon that it is gone: however little of the processor
                // it gets, it stays what it is.
                let session = ("broker.session.timeout.ms".to_owned(), "120000".to_owned());
                let options =
                    ClusterOptions { properties: vec![session], behind_proxies: true, ..ClusterOptions::default() };
                runtime.block_on(Cluster::start_with(1, &options))
            });
            let started = started.join();
            started.unwrap_or_else(|_| Err(anyhow::anyhow!("the start of the shared broker panicked")))
        })
        .map_err(|err| format!("{err:#}"))
    });
    started.as_ref().map_err(|err| anyhow::anyhow!("{err}"))
}

/// Never dropped; the process's end stops the broker.
#[derive(Debug)]
enum Shared {
    Existing(Kafka),
    Own(&'static Cluster),
}

/// Kafka nodes of this test alone. They die, and their data with them, when this is dropped or the process ends.
#[derive(Debug)]
pub struct Cluster {
    kafka: Kafka,
    nodes: Vec<Node>,
    ports: Vec<u16>,
    /// One in front of each node, where they were asked for.
    proxies: Vec<Proxy>,
}

/// How a cluster differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// Kafka's own broker keys; they win over the usual ones.
    pub properties: Vec<(String, String)>,
    /// Keeps the nodes' logs here, as `node-N.log`.
    pub log_directory: Option<PathBuf>,
    /// Puts a fault proxy in front of each node; [`Cluster::behind_proxies`] is the cluster as seen through them.
    pub behind_proxies: bool,
}

impl Cluster {
    /// Starts `nodes` nodes (1 or 3), each broker and controller, and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// When there is no Kafka to start, or it does not come up.
    pub async fn start(nodes: usize) -> anyhow::Result<Self> {
        Self::start_with(nodes, &ClusterOptions::default()).await
    }

    /// Starts a cluster with settings of its own.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub async fn start_with(nodes: usize, options: &ClusterOptions) -> anyhow::Result<Self> {
        // One cluster of a process starts at a time: side by side each would take the processor, and its time, from all
        // the others.
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = TURN.lock().await;
        let distribution = tokio::task::spawn_blocking(Distribution::find).await??;
        let mut attempt = 1;
        loop {
            let cluster = Self::new(nodes, options, &distribution)?;
            match cluster.start_all().await {
                Ok(()) => return Ok(cluster),
                // Somebody took a port between our look and the node's.
                Err(_) if attempt < 5 && cluster.nodes.iter().any(Node::lost_its_port) => attempt += 1,
                Err(err) => return Err(err.context("start Kafka")),
            }
        }
    }

    fn new(nodes: usize, options: &ClusterOptions, distribution: &Distribution) -> anyhow::Result<Self> {
        let ports = free_ports(nodes * 3)?;
        let (client_ports, ports) = ports.split_at(nodes);
        let (controller_ports, proxied_ports) = ports.split_at(nodes);
        let mut proxies = Vec::new();
        for port in proxied_ports.iter().filter(|_| options.behind_proxies) {
            let proxy = Proxy::start()?;
            proxy.forward_to((Ipv4Addr::LOCALHOST, *port).into());
            proxies.push(proxy);
        }
        let cluster_id = cluster_id();
        if let Some(folder) = &options.log_directory {
            fs::create_dir_all(folder)?;
        }
        let nodes = (1..=nodes)
            .map(|id| {
                let mut properties = properties(id, client_ports, controller_ports);
                if let Some(proxy) = proxies.get(id - 1) {
                    properties.extend(proxied_listener(&properties, proxied_ports[id - 1], proxy.port()));
                }
                properties.extend_from_slice(&options.properties);
                let settings = NodeSettings {
                    id,
                    cluster_id: &cluster_id,
                    properties: &properties,
                    heap: if nodes == 1 { "1g" } else { "768m" },
                    log_directory: options.log_directory.as_deref(),
                };
                Node::new(distribution, &settings)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let servers: Vec<String> = client_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Ok(Self { kafka: Kafka::new(servers.join(",")), nodes, ports: client_ports.to_vec(), proxies })
    }

    async fn start_all(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.start().await?;
        }
        self.wait_until_served().await
    }

    /// Stops a node (numbered from 1) with SIGTERM and waits until it has ended.
    ///
    /// # Errors
    ///
    /// When it does not run, or does not end within a minute.
    pub async fn stop(&self, node: usize) -> anyhow::Result<()> {
        self.node(node)?.stop().await
    }

    /// Ends a node with kill -9.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill(&self, node: usize) -> anyhow::Result<()> {
        self.node(node)?.kill().await
    }

    /// Freezes a node with SIGSTOP: its connections stay open and nobody answers.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn freeze(&self, node: usize) -> anyhow::Result<()> {
        self.node(node)?.freeze()
    }

    /// Wakes a frozen node.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn thaw(&self, node: usize) -> anyhow::Result<()> {
        self.node(node)?.thaw()
    }

    /// Starts a stopped or killed node on the data and ports that it had, and waits until it serves.
    ///
    /// # Errors
    ///
    /// When it runs already, or does not come up.
    pub async fn restart(&self, node: usize) -> anyhow::Result<()> {
        self.node(node)?.start().await?;
        self.wait_until_served().await
    }

    /// Whether the process of a node is there, frozen or not.
    pub fn is_running(&self, node: usize) -> bool {
        self.node(node).is_ok_and(Node::is_running)
    }

    /// The process id of a running node.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.node(node).ok().and_then(Node::pid)
    }

    /// The address of one node.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn address(&self, node: usize) -> anyhow::Result<String> {
        let port = node.checked_sub(1).and_then(|index| self.ports.get(index));
        Ok(format!("127.0.0.1:{}", port.with_context(|| format!("there is no node {node}"))?))
    }

    /// The cluster as clients behind its proxies know it; everybody else goes straight to the nodes.
    ///
    /// # Errors
    ///
    /// When it was started without proxies.
    pub fn behind_proxies(&self) -> anyhow::Result<Kafka> {
        anyhow::ensure!(!self.proxies.is_empty(), "the cluster was started without proxies");
        let servers: Vec<String> = self.proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
        Ok(Kafka::new(servers.join(",")))
    }

    /// The proxy in front of one node.
    ///
    /// # Errors
    ///
    /// When there is no such node, or no proxy.
    pub fn proxy(&self, node: usize) -> anyhow::Result<&Proxy> {
        let proxy = node.checked_sub(1).and_then(|index| self.proxies.get(index));
        proxy.with_context(|| format!("there is no proxy in front of node {node}"))
    }

    /// The folder with the partitions' segments of a node, for tests that damage a stopped one.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn data_directory(&self, node: usize) -> anyhow::Result<PathBuf> {
        self.node(node).map(Node::data_directory)
    }

    /// How many nodes the cluster has, running or not.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn node(&self, node: usize) -> anyhow::Result<&Node> {
        node.checked_sub(1).and_then(|index| self.nodes.get(index)).with_context(|| format!("there is no node {node}"))
    }

    /// Waits until every running node is in the metadata that the running nodes give out.
    async fn wait_until_served(&self) -> anyhow::Result<()> {
        let running: Vec<i32> =
            (1..).zip(&self.nodes).filter(|(_, node)| node.is_running()).map(|(id, _)| id).collect();
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            let last = match self.kafka.brokers().await {
                Ok(brokers) if running.iter().all(|id| brokers.contains(id)) => return Ok(()),
                Ok(brokers) => anyhow::anyhow!("of the nodes {running:?} only {brokers:?} serve"),
                Err(err) => err,
            };
            for id in &running {
                self.node(usize::try_from(*id)?)?.check_running()?;
            }
            if Instant::now() > give_up {
                return Err(last.context(format!("nobody served within {START_DEADLINE:?}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Deref for Cluster {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

/// The settings of a node: loopback, small, and quick to notice what happens to members and nodes.
fn properties(id: usize, client_ports: &[u16], controller_ports: &[u16]) -> Vec<(String, String)> {
    let (client, controller) = (client_ports[id - 1], controller_ports[id - 1]);
    let voters: Vec<String> =
        (1..).zip(controller_ports).map(|(voter, port)| format!("{voter}@127.0.0.1:{port}")).collect();
    let replicas = client_ports.len();
    let in_sync = replicas.div_ceil(2);
    // A node that is busy must not take itself for gone; where others take over they should do so soon.
    let session = if replicas == 1 { 10_000 } else { 6_000 };
    let text = format!(
        "node.id={id}
process.roles=broker,controller
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
log.retention.ms=-1
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=1000
group.consumer.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms={session}
initial.broker.registration.timeout.ms=240000
message.max.bytes=67108864
replica.fetch.max.bytes=67108864
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216",
        voters = voters.join(","),
    );
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

/// A listener more, on `port`, which tells clients that they find it at the proxy's. It overrides what `usual` says of
/// listeners.
fn proxied_listener(usual: &[(String, String)], port: u16, proxy: u16) -> Vec<(String, String)> {
    let with = |name: &str, more: String| {
        let before = usual.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
        (name.to_owned(), format!("{before},{more}"))
    };
    vec![
        with("listeners", format!("PROXIED://127.0.0.1:{port}")),
        with("advertised.listeners", format!("PROXIED://127.0.0.1:{proxy}")),
        with("listener.security.protocol.map", "PROXIED:PLAINTEXT".to_owned()),
    ]
}

/// Ports of the loopback interface that are free now. The next asker may get the same one, so a start is tried again.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let span = u64::from(PORTS.end - PORTS.start);
    let mut held = Vec::new();
    for _ in 0..1_000 {
        if held.len() == count {
            break;
        }
        let port = PORTS.start + u16::try_from(random() % span)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
        }
    }
    anyhow::ensure!(held.len() == count, "no {count} free ports between {} and {}", PORTS.start, PORTS.end);
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A cluster id as Kafka wants it: 16 bytes in 22 characters of URL-safe base 64.
fn cluster_id() -> String {
    // The last character carries two bits only, which `A` leaves at zero.
    format!("{:021x}A", u128::from(random()) << 16 | u128::from(random() & 0xffff))
}
