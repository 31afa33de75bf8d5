//! What became of this run's orders: counted from three independent witnesses.
//!
//! The producer knows where each order was stored, each service's ledger what it handled, and the broker what each
//! group has committed.

use std::fmt;

use serde::Serialize;

use crate::ledger::Entries;
use crate::producer::Stored;

/// The run's last word; as JSON, the line that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) orders: usize,
    pub(crate) lost: usize,
    services: Services,
}

#[derive(Debug, Serialize)]
struct Services {
    #[serde(rename = "order-service")]
    order: Service,
    #[serde(rename = "inventory-service")]
    inventory: Service,
    #[serde(rename = "notification-service")]
    notification: Service,
}

/// One service's share of the run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    /// Deliveries that ended well.
    handled: u64,
    /// Different orders among them.
    distinct: u64,
    duplicates: u64,
    /// How far the group's committed offsets moved during the run, over all partitions.
    committed: i64,
    #[serde(skip)]
    lost: usize,
}

impl Service {
    /// `before` and `after` are the group's next offsets, by partition.
    pub(crate) fn new(entries: &Entries, stored: &[Stored], before: &[i64], after: &[i64]) -> Self {
        let distinct = entries.distinct.len() as u64;
        let is_behind_commit = |order: &&Stored| {
            usize::try_from(order.partition)
                .ok()
                .and_then(|partition| after.get(partition))
                .is_some_and(|committed| order.offset < *committed)
        };
        Self {
            handled: entries.handled,
            distinct,
            duplicates: entries.handled.saturating_sub(distinct),
            committed: before.iter().zip(after).map(|(before, after)| after - before).sum(),
            lost: stored
                .iter()
                .filter(is_behind_commit)
                .filter(|order| !entries.distinct.contains(&order.number))
                .count(),
        }
    }
}

impl Report {
    pub(crate) fn new(orders: usize, [order, inventory, notification]: [Service; 3]) -> Self {
        Self {
            orders,
            lost: order.lost + inventory.lost + notification.lost,
            services: Services { order, inventory, notification },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Services { order, inventory, notification } = &self.services;
        for (name, service) in
            [("order-service", order), ("inventory-service", inventory), ("notification-service", notification)]
        {
            let Service { distinct, duplicates, committed, lost, .. } = service;
            let waiting = (self.orders as u64).saturating_sub(*distinct);
            writeln!(
                f,
                "{name:<21} {distinct} of {} handled, {duplicates} twice, {committed} committed, {waiting} waiting, \
                 {lost} lost",
                self.orders
            )?;
        }
        match self.lost {
            0 => write!(f, "nothing was lost"),
            lost => write!(f, "{lost} orders were LOST: committed, and not handled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(orders: &[(u32, i32, i64)]) -> Vec<Stored> {
        orders.iter().map(|&(number, partition, offset)| Stored { number, partition, offset }).collect()
    }

    fn entries(handled: u64, distinct: &[u32]) -> Entries {
        Entries { handled, distinct: distinct.iter().copied().collect() }
    }

    #[test]
    fn an_order_is_lost_when_the_group_has_passed_it_without_handling_it() {
        let stored = stored(&[(0, 0, 7), (1, 0, 8), (2, 1, 3)]);
        let check = |handled: &[u32], after: [i64; 2], lost| {
            let service = Service::new(&entries(handled.len() as u64, handled), &stored, &[7, 3], &after);
            assert_eq!(service.lost, lost, "handled {handled:?}, committed {after:?}");
        };
        check(&[], [7, 3], 0);
        check(&[0], [8, 3], 0);
        check(&[1], [8, 3], 1);
        check(&[], [9, 4], 3);
        check(&[0, 1, 2], [9, 4], 0);
    }

    #[test]
    fn the_json_is_the_one_that_is_documented() {
        let stored = stored(&[(0, 0, 10), (1, 1, 0)]);
        let service = |handled, distinct: &[u32], after: &[i64]| {
            Service::new(&entries(handled, distinct), &stored, &[10, 0], after)
        };
        let report =
            Report::new(2, [service(3, &[0, 1], &[11, 1]), service(2, &[0, 1], &[11, 1]), service(0, &[], &[11, 0])]);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            concat!(
                r#"{"orders":2,"lost":1,"services":{"#,
                r#""order-service":{"handled":3,"distinct":2,"duplicates":1,"committed":2},"#,
                r#""inventory-service":{"handled":2,"distinct":2,"duplicates":0,"committed":2},"#,
                r#""notification-service":{"handled":0,"distinct":0,"duplicates":0,"committed":1}}}"#,
            )
        );
    }
}
