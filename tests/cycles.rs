//! Two hundred starts and stops leave nothing behind. A binary of its own: it counts what the whole process holds.

use std::fs;

use kafka_listener::extract::State;
use kafka_listener::{ListenerRegistry, kafka_listener, listener};
use serde::Deserialize;
use support::{Record, SOON, broker, eventually, unique};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

const CYCLES: usize = 200;
/// Cycles after which all that is made once has been made.
const WARM: usize = 40;
/// What the allocators of two hundred clients may keep for the next one.
const SLACK_KIB: u64 = 8 * 1024;

#[derive(Deserialize)]
struct Order {
    n: u32,
}

#[kafka_listener(id = "cycles")]
async fn tell(order: Order, State(told): State<Sender<u32>>) {
    told.send(order.n).await.expect("the test listens to its end");
}

/// What the process holds.
#[derive(Debug)]
struct Held {
    threads: usize,
    files: usize,
    tasks: usize,
    resident_kib: u64,
}

impl Held {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("procfs is there");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells VmRSS");
        let resident = resident.trim().trim_end_matches(" kB").trim().parse().expect("VmRSS is a number");
        let entries = |folder| fs::read_dir(folder).expect("procfs is there").count();
        Self {
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
            tasks: Handle::current().metrics().num_alive_tasks(),
            resident_kib: resident,
        }
    }
}

#[tokio::test]
async fn two_hundred_starts_and_stops_leave_threads_tasks_files_and_memory_flat() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 3).await.unwrap();
    let (told, mut orders) = tokio::sync::mpsc::channel(1);
    let mut warm = None;
    for cycle in 0..CYCLES {
        let n = u32::try_from(cycle).unwrap();
        broker().produce(Record::to(&topic).json(serde_json::json!({ "n": n }))).await.unwrap();
        let listeners = ListenerRegistry::builder()
            .environment(false)
            .without_discovery()
            .register(listener!(tell))
            .set("kafka.bootstrap_servers", broker().bootstrap_servers())
            .set("listener.topic", topic.as_str())
            .set("listener.group_id", group.as_str())
            .state(told.clone())
            .start()
            .await
            .unwrap();
        let order = tokio::time::timeout(SOON, orders.recv()).await.unwrap();
        assert_eq!(order, Some(n));
        listeners.shutdown().await.into_result().unwrap();
        if cycle == WARM {
            warm = Some(Held::now());
        }
    }
    let warm = warm.unwrap();

    assert_eq!(ListenerRegistry::unclosed_clients(), 0);
    let flat = || async {
        let now = Held::now();
        // A thread that has said goodbye takes a moment to be gone, and runtimes let idle threads go.
        anyhow::ensure!(now.threads <= warm.threads && now.files <= warm.files, "{now:?} after {warm:?}");
        anyhow::ensure!(now.tasks <= warm.tasks, "{now:?} after {warm:?}");
        anyhow::ensure!(now.resident_kib <= warm.resident_kib + SLACK_KIB, "{now:?} after {warm:?}");
        Ok(())
    };
    eventually(SOON, "the process holds no more than before", flat).await.unwrap();
}
