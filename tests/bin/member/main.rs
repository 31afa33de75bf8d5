//! One member of a group, as a process that tests can stop, freeze and kill. It writes what happens to its event log.

mod service;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    service::run(&service::MemberArguments::parse())
}
