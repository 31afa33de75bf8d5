//! What a runtime can do at best with handlers that wait: as many tasks as there are partitions, and no Kafka.

use tokio::task::JoinSet;

use crate::order::{self, Order};
use crate::protocol::{Assignment, Measure};
use crate::{cases, measure};

pub(super) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    let Measure::Records { produced: records, .. } = assignment.measure else {
        anyhow::bail!("counts records, nothing else")
    };
    let micros = assignment.work_micros;
    let tasks = u64::from(cases::WORK_PARTITIONS.unsigned_abs());
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut running: JoinSet<anyhow::Result<()>> = (0..tasks)
            .map(|task| async move {
                let payload = order::payload(0);
                for _ in 0..records / tasks + u64::from(task < records % tasks) {
                    let order: Order = serde_json::from_slice(&payload)?;
                    if micros > 0 {
                        measure::work(micros).await;
                    }
                    measure::handled(&order);
                }
                Ok(())
            })
            .collect();
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })?;
    // The process ends when the last record is seen to be handled.
    loop {
        std::thread::park();
    }
}
