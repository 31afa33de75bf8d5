//! Describing what to run, checking all of it, starting it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::signal;
use tokio_util::task::AbortOnDropHandle;

use super::{ListenerRegistry, ShutdownReport};
use crate::config::{
    AckMode, ConfigSource, Environment, ListenerSettings, Resolved, ResolvedListener, Sources, Value, resolve,
};
use crate::container::{ContainerState, ListenerContainer};
use crate::dead_letter::DeadLetters;
use crate::definition::ListenerDefinition;
use crate::error::Error;
use crate::error_handler::{ErrorHandler, ErrorHandlers};
use crate::interceptor::{Interceptor, Interceptors};
use crate::kafka::ProducerEngine;
use crate::producer::Producer;
use crate::rebalance::{Hooks, RebalanceListener};
use crate::reply::Replies;
use crate::retry_topics::RetryTopics;
use crate::slots::Slots;
use crate::state::{States, missing_states, requirements_of};
use crate::worker::{LeftBehind, ListenerContext, ListenerMetrics, ManualAcks, Settling};

/// What to run, made by [`ListenerRegistry::builder`]. Nothing is read or connected before [`start`] or [`run`].
///
/// [`start`]: ListenerRegistryBuilder::start
/// [`run`]: ListenerRegistryBuilder::run
#[derive(Default)]
#[must_use = "a builder does nothing before `start` or `run`"]
pub struct ListenerRegistryBuilder {
    sources: Sources,
    registered: Vec<ListenerDefinition>,
    states: States,
    state_errors: Vec<String>,
    hooks: Vec<Arc<dyn RebalanceListener>>,
    hooks_by_listener: BTreeMap<String, Vec<Arc<dyn RebalanceListener>>>,
    interceptors: Vec<Arc<dyn Interceptor>>,
    interceptors_by_listener: BTreeMap<String, Vec<Arc<dyn Interceptor>>>,
    error_handlers: Vec<Arc<dyn ErrorHandler>>,
    error_handlers_by_listener: BTreeMap<String, Vec<Arc<dyn ErrorHandler>>>,
}

impl fmt::Debug for ListenerRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerRegistryBuilder")
            .field("sources", &self.sources)
            .field("states", &self.states)
            .finish_non_exhaustive()
    }
}

impl ListenerRegistryBuilder {
    /// Reads this configuration file, which has to exist. Without this call `KAFKA_LISTENER_CONFIG` names the file, else
    /// `kafka-listener.toml` in the working directory is read if it is there.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.file = ConfigSource::File(path.into());
        self
    }

    /// Uses this text in place of a configuration file; errors show it under the name `<config_str>`.
    pub fn config_str(mut self, toml: impl Into<String>) -> Self {
        self.sources.file = ConfigSource::Text { name: "<config_str>".to_owned(), text: toml.into() };
        self
    }

    /// Sets one key, by its dotted path in the file: `.set("listeners.reserve_stock.concurrency", 6)`. Wins over file
    /// and environment.
    pub fn set(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.sources.set.push((path.into(), value.into()));
        self
    }

    /// Activates these profiles, in this order, instead of those that `KAFKA_LISTENER_PROFILES` names.
    pub fn profiles<I: IntoIterator<Item = impl Into<String>>>(mut self, profiles: I) -> Self {
        self.sources.profiles = Some(profiles.into_iter().map(Into::into).collect());
        self
    }

    /// Whether environment variables are read; they are unless this says `false`.
    pub fn environment(mut self, read: bool) -> Self {
        self.sources.environment = if read { Environment::Process } else { Environment::Off };
        self
    }

    /// Reads these variables in place of the process's environment. For tests.
    pub fn environment_vars<I, N, V>(mut self, variables: I) -> Self
    where
        I: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: Into<String>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.sources.environment = Environment::Variables(variables);
        self
    }

    /// Runs only the listeners with these ids. Wins over the key `only`.
    pub fn only<I: IntoIterator<Item = impl Into<String>>>(mut self, ids: I) -> Self {
        self.sources.only = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Starts from no listener instead of all that are linked in: those given to [`register`] run.
    ///
    /// [`register`]: ListenerRegistryBuilder::register
    pub fn without_discovery(mut self) -> Self {
        self.sources.without_discovery = true;
        self
    }

    /// Adds a listener by its path, `.register(listener!(handlers::reserve_stock))`. A listener that is found and
    /// registered runs once.
    pub fn register(mut self, definition: ListenerDefinition) -> Self {
        self.registered.push(definition);
        self
    }

    /// Gives listeners the value that their `State<S>` parameters take a clone of, one value per type.
    pub fn state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> Self {
        if let Err(error) = self.states.insert(state) {
            self.state_errors.push(error.to_string());
        }
        self
    }

    /// Calls these hooks around the rebalances of every listener.
    pub fn rebalance_listener(mut self, hooks: impl RebalanceListener) -> Self {
        self.hooks.push(Arc::new(hooks));
        self
    }

    /// Calls these hooks around the rebalances of the listener `id`, after those of all listeners.
    pub fn rebalance_listener_for(mut self, id: impl Into<String>, hooks: impl RebalanceListener) -> Self {
        self.hooks_by_listener.entry(id.into()).or_default().push(Arc::new(hooks));
        self
    }

    /// Puts this layer around the handlers of every listener, within those that were given before.
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Puts this layer around the handler of the listener `id`, within those of all listeners.
    pub fn interceptor_for(mut self, id: impl Into<String>, interceptor: impl Interceptor) -> Self {
        self.interceptors_by_listener.entry(id.into()).or_default().push(Arc::new(interceptor));
        self
    }

    /// Asks this handler about failed deliveries of every listener.
    pub fn error_handler(mut self, handler: impl ErrorHandler) -> Self {
        self.error_handlers.push(Arc::new(handler));
        self
    }

    /// Asks this handler about failed deliveries of the listener `id`, before those of all listeners.
    pub fn error_handler_for(mut self, id: impl Into<String>, handler: impl ErrorHandler) -> Self {
        self.error_handlers_by_listener.entry(id.into()).or_default().push(Arc::new(handler));
        self
    }

    /// Checks everything, then starts the listeners. Returns once all is validated and the poll loops run; with the
    /// broker away it still does, and the listeners join when it comes ([`ListenerRegistry::wait_until_assigned`]).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with all that is wrong in the configuration; [`Error::State`] with all states that are missing
    /// or given twice; [`Error::NoListeners`]; [`Error::NoRuntime`] outside a tokio runtime; [`Error::Thread`];
    /// [`Error::Producer`].
    pub async fn start(self) -> Result<ListenerRegistry, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let mut definitions = self.registered;
        if !self.sources.without_discovery {
            definitions.extend(inventory::iter::<ListenerDefinition>);
        }
        if !self.interceptors.is_empty() || !self.interceptors_by_listener.is_empty() {
            // Their failures may be of classes that the listener's own errors do not tell.
            for definition in &mut definitions {
                definition.error_names = || None;
            }
        }
        let resolved = resolve(&self.sources, &definitions)?;
        check_states(&self.states, self.state_errors, &resolved)?;
        let named = self.hooks_by_listener.keys().chain(self.error_handlers_by_listener.keys());
        check_ids(named.chain(self.interceptors_by_listener.keys()), &resolved)?;
        log_start(&resolved);
        if resolved.listeners.is_empty() {
            let reasons: Vec<String> = resolved.left_out.iter().map(|(id, why)| format!("`{id}`: {why}")).collect();
            let hint = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
            return Err(Error::NoListeners { hint });
        }
        let producer = producer(&resolved)?;
        let mut containers = Vec::with_capacity(resolved.listeners.len());
        let mut order: Vec<(usize, Vec<String>)> = Vec::new();
        for listener in resolved.listeners {
            let first = listener.start_after.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
            if !first.is_empty() {
                order.push((containers.len(), first));
            }
            let id = listener.definition.id;
            let mut hooks = self.hooks.clone();
            hooks.extend(self.hooks_by_listener.get(id).into_iter().flatten().cloned());
            let own_handlers = self.error_handlers_by_listener.get(id).into_iter().flatten();
            let error_handlers = own_handlers.chain(&self.error_handlers).cloned().collect();
            let inner = self.interceptors_by_listener.get(id).into_iter().flatten();
            let interceptors = self.interceptors.iter().chain(inner).cloned().collect();
            let code = Code {
                hooks: Hooks::new(hooks),
                error_handlers: ErrorHandlers::new(error_handlers),
                interceptors: Interceptors::new(interceptors),
            };
            containers.push(container(listener, &self.states, &producer, code, runtime.clone()));
        }
        for (index, first) in &order {
            containers[*index].will_wait_for(first.clone());
        }
        let starts_now = |container: &&ListenerContainer| {
            container.settings().auto_startup && container.state() != ContainerState::Waiting
        };
        for container in containers.iter().filter(starts_now) {
            container.start()?;
        }
        let waits = order.into_iter().map(|(index, first)| {
            let others = containers.iter().filter(|other| first.iter().any(|id| id == other.id())).cloned().collect();
            let container = containers[index].clone();
            AbortOnDropHandle::new(runtime.spawn(async move { container.start_after(others).await }))
        });
        let waits = Arc::new(Mutex::new(waits.collect()));
        // Whoever starts many registries in a loop still lets other tasks run.
        tokio::task::yield_now().await;
        Ok(ListenerRegistry { containers: containers.into(), producer, waits })
    }

    /// Starts the listeners and runs until SIGTERM or Ctrl-C, until none of them runs any more, or until one fails that
    /// is to end the others too (`on_fatal = "exit"`, or a failure at its start); then stops all of them within their
    /// `shutdown_timeout`. A second signal stops waiting for running handlers.
    ///
    /// # Errors
    ///
    /// Those of [`ListenerRegistryBuilder::start`]; [`Error::Failed`] when a listener failed meanwhile, with the others
    /// stopped in order; [`Error::Signal`]. A stop that left something is no error here: see
    /// [`ShutdownReport::into_result`].
    pub async fn run(self) -> Result<ShutdownReport, Error> {
        let mut signals = Signals::listen()?;
        let listeners = self.start().await?;
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping: draining handlers, committing, leaving the groups"),
            () = listeners.stopped() => if listeners.has_completed() {
                tracing::info!("stopping: all listeners have completed");
            } else {
                tracing::error!("stopping: a listener cannot go on and ends the others, or none runs any more");
            },
        }
        let failure = listeners.first_failure();
        let mut shutdown = std::pin::pin!(listeners.shutdown());
        let report = tokio::select! {
            report = &mut shutdown => report,
            name = signals.next() => {
                tracing::warn!(signal = name, "second signal: running handlers are cancelled, their records will be handled again");
                listeners.interrupt();
                shutdown.await
            }
        };
        tracing::info!(report = %report, "stopped");
        match failure {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }
}

/// The registry's producer. Its client is made now where a listener sends records, so that what is wrong shows at start.
fn producer(resolved: &Resolved) -> Result<Producer, Error> {
    let engine = ProducerEngine::new(resolved.producer.clone());
    let is_needed = resolved.listeners.iter().any(|listener| {
        requirements_of(&listener.definition).needs_producer
            || listener.settings.failures.publish_dead_letters()
            || listener.settings.retry_topics.is_some()
    });
    if is_needed {
        engine.prepare().map_err(|reason| Error::Producer { reason: reason.to_string() })?;
    }
    Ok(Producer::new(Arc::new(engine)))
}

/// The user's code around one listener.
struct Code {
    hooks: Hooks,
    error_handlers: ErrorHandlers,
    interceptors: Interceptors,
}

fn container(
    listener: ResolvedListener,
    states: &States,
    producer: &Producer,
    code: Code,
    runtime: Handle,
) -> ListenerContainer {
    let ResolvedListener { definition, settings, .. } = listener;
    let settings = Arc::new(settings);
    let reads_headers = requirements_of(&definition).reads_headers || !code.interceptors.is_empty();
    let group_id: Arc<str> = settings.group_id.as_str().into();
    let retry_topics = settings.retry_topics.clone().map(|retry_topics| {
        Arc::new(RetryTopics::new(producer.clone(), retry_topics, settings.topics.clone(), Arc::clone(&group_id)))
    });
    let replies = settings.send_to.clone().map(|send_to| {
        let own = settings.topics.iter().cloned().chain(settings.all_retry_topics()).collect();
        Arc::new(Replies::new(producer.clone(), send_to, own))
    });
    let context = ListenerContext {
        id: settings.id.as_str().into(),
        group_id: Arc::clone(&group_id),
        handles_for: Arc::clone(&group_id),
        handler: (definition.handler)(),
        states: states.clone(),
        dead_letters: Arc::new(DeadLetters::new(producer.clone(), &settings)),
        retry_topics,
        replies,
        producer: producer.clone(),
        slots: Slots::new(settings.concurrency),
        failures: settings.failures.clone(),
        error_handlers: code.error_handlers,
        interceptors: code.interceptors,
        handler_timeout: settings.handler_timeout,
        on_corrupt: settings.on_corrupt,
        max_payload: settings.limits.max_payload,
        codec: settings.codec,
        reads_headers,
        sync_commits: settings.sync_commits,
        commits_each_record: settings.ack_mode == AckMode::Record,
        settling: settling(&settings),
        attempts: settings.failures.limit_attempts().then(Mutex::default),
        metrics: Arc::new(ListenerMetrics::new(&settings.id, &settings.group_id)),
        left_behind: Arc::new(LeftBehind::default()),
    };
    ListenerContainer::new(settings, Arc::new(context), code.hooks, runtime)
}

/// What says that a record of this listener is done.
fn settling(settings: &ListenerSettings) -> Settling {
    match settings.ack_mode {
        AckMode::Manual | AckMode::ManualImmediate => Settling::Acknowledgment {
            acks: ManualAcks {
                is_immediate: settings.ack_mode == AckMode::ManualImmediate,
                is_unordered: settings.async_acks,
            },
            drain: settings.ack_drain,
        },
        AckMode::AtMostOnce => Settling::CommitFirst,
        _ => Settling::Return,
    }
}

fn check_states(states: &States, mut errors: Vec<String>, resolved: &Resolved) -> Result<(), Error> {
    let selected = resolved.listeners.iter().map(|listener| &listener.definition);
    errors.extend(missing_states(selected, states).into_iter().map(|missing| missing.to_string()));
    if errors.is_empty() { Ok(()) } else { Err(Error::State(errors.join("\n"))) }
}

/// Whatever is given for one listener names one that exists, whether it runs or not.
fn check_ids<'i>(mut named: impl Iterator<Item = &'i String>, resolved: &Resolved) -> Result<(), Error> {
    let known = |id: &str| {
        resolved.listeners.iter().any(|listener| listener.definition.id == id)
            || resolved.left_out.iter().any(|(left_out, _)| left_out == id)
    };
    match named.find(|id| !known(id)) {
        None => Ok(()),
        Some(id) => Err(Error::UnknownContainer {
            id: id.clone(),
            known: resolved
                .listeners
                .iter()
                .map(|one| format!("`{}`", one.definition.id))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// One line per listener, and at level debug one per setting with its origin.
fn log_start(resolved: &Resolved) {
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    for (id, why) in &resolved.left_out {
        tracing::info!(listener = %id, why, "listener does not run");
    }
    if !resolved.profiles.is_empty() {
        tracing::info!(profiles = ?resolved.profiles, "active profiles");
    }
    for setting in &resolved.kafka {
        tracing::debug!(key = %setting.key, value = %setting.value, origin = %setting.origin, "setting");
    }
    for listener in &resolved.listeners {
        let (settings, definition) = (&listener.settings, &listener.definition);
        let slots = settings.concurrency.map_or_else(|| "one per partition".to_owned(), |slots| slots.to_string());
        tracing::info!(
            listener = %settings.id,
            topics = ?settings.topics,
            group = %settings.group_id,
            slots,
            consumers = settings.consumers,
            ack_mode = ?settings.ack_mode,
            defined_at = format_args!("{}:{}", definition.file, definition.line),
            notes = listener.notes.join("; "),
            "listener starts"
        );
        for setting in listener.describe() {
            tracing::debug!(listener = %settings.id, key = %setting.key, value = %setting.value, origin = %setting.origin,
                "setting");
        }
    }
}

/// The signals that end a service.
struct Signals {
    #[cfg(unix)]
    terminate: signal::unix::Signal,
    #[cfg(unix)]
    interrupt: signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> Result<Self, Error> {
        use signal::unix::{SignalKind, signal};
        // Registering a signal outside a runtime panics; say it in our words instead.
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Error::Signal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Error::Signal)?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Self, Error> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        match signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
