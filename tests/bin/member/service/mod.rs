//! The member: a service on the public API only, or one of a few engines written by hand that a harness must be able
//! to tell from it.

mod by_hand;
mod listener;
mod rules;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use support::event::{EventLog, What};

use self::rules::Rule;
use self::work::Work;

/// A group member whose handlers do what they are told and write down what happens.
#[derive(Debug, Clone, Parser)]
pub(crate) struct MemberArguments {
    /// The name of this life of the process in the event log; also its client id.
    #[arg(long)]
    pub(crate) name: String,
    /// The cluster.
    #[arg(long)]
    pub(crate) bootstrap: String,
    /// The topic to listen to.
    #[arg(long)]
    pub(crate) topic: String,
    /// The group to join.
    #[arg(long)]
    pub(crate) group: String,
    /// Where events are appended to; standard output when left out.
    #[arg(long)]
    pub(crate) events: Option<PathBuf>,
    /// A setting of the library, such as `listener.session_timeout=6s`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// A property of librdkafka, such as `socket.timeout.ms=3000`; may be repeated.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) properties: Vec<(String, String)>,
    /// How long each handler works, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) work_ms: u64,
    /// Handlers block their thread for that long instead of awaiting it.
    #[arg(long)]
    pub(crate) block: bool,
    /// What befalls a record: VALUE=fail:N, VALUE=panic:N or VALUE=latch. VALUE may end with `*`; may be repeated.
    #[arg(long = "on", value_name = "VALUE=ACTION")]
    pub(crate) rules: Vec<Rule>,
    /// The file that latched handlers wait for.
    #[arg(long)]
    pub(crate) latch: Option<PathBuf>,
    /// What the handler takes.
    #[arg(long, value_enum, default_value_t = Payload::Raw)]
    pub(crate) payload: Payload,
    /// What says that a record is done. `inside` and `outside` need a manual `listener.ack_mode`, `reply` a
    /// `listener.send_to`.
    #[arg(long, value_enum, default_value_t = Acks::Return)]
    pub(crate) acks: Acks,
    /// What runs the handlers.
    #[arg(long, value_enum, default_value_t = Engine::Listener)]
    pub(crate) engine: Engine,
    /// What is broken in the library on purpose.
    #[arg(long, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
    /// Threads of the runtime; 0 is a current-thread runtime.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// The bytes as they are: broken records reach the handler too.
    Raw,
    /// An order as JSON: broken records do not decode.
    Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acks {
    /// The handler's return.
    Return,
    /// The broker's answer to its reply: the value of the record.
    Reply,
    /// An acknowledgement at its end.
    Inside,
    /// Acknowledgements that leave the handler and come up to 20 ms later, out of order.
    Outside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The library.
    Listener,
    /// A careful loop: commits what is handled every 100 ms, and in the revoke.
    ByHand,
    /// A careless loop: commits a record before it is handled.
    CommitsFirst,
    /// A forgetful loop: never commits.
    NeverCommits,
}

/// The ways in which the library can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// Records are committed when they are handed to the worker.
    CommitsAtHandOver,
    /// The end of an assignment stops nobody.
    NoFence,
    /// The last finished record is committed, not the one behind it.
    NoPlusOne,
    /// Nobody waits for running handlers.
    NoDrain,
    /// Two workers of a process may have one partition.
    NoOwnership,
    /// Nothing is ever committed.
    NeverCommits,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not PATH=VALUE"))?;
    Ok((path.to_owned(), value.to_owned()))
}

/// Runs a member until it is told to stop. The exit code says whether it stopped in good order.
pub(crate) fn run(arguments: &MemberArguments) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match try_run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(arguments: &MemberArguments) -> anyhow::Result<()> {
    let events = match &arguments.events {
        Some(path) => EventLog::append(path, &arguments.name)?,
        None => EventLog::stdout(&arguments.name)?,
    };
    let events = Arc::new(events);
    events.write(What::Up { pid: std::process::id() })?;
    let runtime = match arguments.threads {
        0 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    let work = Work::new(arguments, Arc::clone(&events));
    let report = runtime.block_on(async {
        match arguments.engine {
            Engine::Listener => listener::run(arguments, work, Arc::clone(&events)).await,
            engine => by_hand::run(engine, arguments, work, Arc::clone(&events)).await,
        }
    });
    // Dropping the runtime would wait for handlers that block their thread, and those may never end.
    runtime.shutdown_background();
    let text = match &report {
        Ok(text) => text.clone(),
        Err(err) => format!("{err:#}"),
    };
    events.write(What::Report { clean: report.is_ok(), text })?;
    report.map(drop)
}
