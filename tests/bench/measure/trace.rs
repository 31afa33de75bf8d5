//! Each record as it is handled, for the case that asks how long a partition stood still.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;

use super::monotonic_nanos;
use crate::order::Order;

static TRACE: OnceLock<File> = OnceLock::new();

/// From here on traced records go to `file`.
pub(crate) fn open(file: &Path) -> anyhow::Result<()> {
    let opened = File::create(file).with_context(|| format!("create `{}`", file.display()))?;
    TRACE.set(opened).ok().context("a process has one trace")
}

/// One line, `partition number nanoseconds`, in one write: what a killed process has handled is all there.
pub(crate) fn write(order: &Order) {
    let Some(mut file) = TRACE.get() else { return };
    let line = format!("{} {} {}\n", order.user_id, order.price, monotonic_nanos());
    file.write_all(line.as_bytes()).expect("a trace that misses records would prove a loss that never was");
}
