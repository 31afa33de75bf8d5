//! One member of a group, as a process that tests can stop, freeze and kill. It writes what happens to its event log.
//!
//! Exit codes: 0 when everything that was started is finished and committed and the group was left; 1 when a stop left
//! something, which its last event names, or a listener failed or did not start; 2 when the command line is wrong.

mod service;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    service::run(&service::MemberArguments::parse())
}
