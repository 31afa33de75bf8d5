//! ruststream-rdkafka as a subject of the bench: the same payload, handler and client settings as the others.

// These are the bench's own files; half of each is for the side that asks.
#[path = "../../../measure/mod.rs"]
mod measure;
#[path = "../../../order.rs"]
#[allow(dead_code)]
mod order;
#[path = "../../../protocol.rs"]
#[allow(dead_code)]
mod protocol;
#[path = "../../../statistics.rs"]
#[allow(dead_code)]
mod statistics;

use std::sync::OnceLock;

use ruststream_rdkafka::prelude::*;

use crate::order::Order;
use crate::protocol::{Assignment as Task, Subject};

#[global_allocator]
static ALLOCATOR: measure::CountingAllocator = measure::CountingAllocator;

static TASK: OnceLock<Task> = OnceLock::new();

fn task() -> &'static Task {
    TASK.get().expect("set before anything is mounted")
}

#[subscriber(KafkaTopic::new(&task().topic).group(&task().group).start(StartOffset::Earliest))]
async fn auto(order: &Order) -> HandlerOutcome {
    handle(order).await
}

#[subscriber(KafkaTopic::new(&task().topic).group(&task().group).start(StartOffset::Earliest).commit(Commit::Tracked))]
async fn tracked(order: &Order) -> HandlerOutcome {
    handle(order).await
}

async fn handle(order: &Order) -> HandlerOutcome {
    let micros = task().work_micros;
    if micros > 0 {
        measure::work(micros).await;
    }
    measure::handled(order);
    HandlerOutcome::ack()
}

fn consume(task: &Task) -> anyhow::Result<()> {
    let mut broker = KafkaBroker::new([task.bootstrap_servers.as_str()]);
    if task.subject != Subject::RuststreamDefaults {
        broker = task.client.iter().fold(broker, |broker, (name, value)| broker.config(name, value));
    }
    let app = RustStream::new(AppInfo::new("bench", "0.0.0"));
    let runtime = tokio::runtime::Runtime::new()?;
    if task.subject == Subject::RuststreamAuto {
        runtime.block_on(
            app.with_broker(broker, |b| {
                b.include(auto);
            })
            .run(),
        )?;
    } else {
        runtime.block_on(
            app.with_broker(broker, |b| {
                b.include(tracked);
            })
            .run(),
        )?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let task = Task::from_arguments()?.ok_or_else(|| anyhow::anyhow!("this program is a subject of the bench"))?;
    TASK.set(task.clone()).ok();
    measure::run(&task, consume)
}
