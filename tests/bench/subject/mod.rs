//! The consumers of this package that are compared. Each runs in a process of its own, with the same client settings and
//! the same handler.

mod bare;
mod client;
mod listener;
mod poll_loop;
mod stream_loop;

pub(crate) use self::client::SETTINGS;

use crate::measure;
use crate::protocol::{Assignment, Subject};

/// Runs the subject in this process until everything is measured.
pub(crate) fn run(assignment: &Assignment) -> anyhow::Result<()> {
    let consume = match assignment.subject {
        Subject::Loop => poll_loop::run,
        Subject::Stream => stream_loop::run,
        Subject::Listener => listener::run,
        Subject::Bare => bare::run,
        rival => anyhow::bail!("`{}` is a program of its own", rival.name()),
    };
    measure::run(assignment, consume)
}
