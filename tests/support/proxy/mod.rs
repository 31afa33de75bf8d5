//! A fault proxy in front of one broker: it rewrites nothing, and delays, holds, loses or cuts what it is told to, chosen by
//! API and client id.
//!
//! The broker advertises the proxy's port on a listener of its own, so that clients stay behind it (see
//! [`ClusterOptions::behind_proxies`](crate::ClusterOptions)) while witnesses go straight to the broker.

mod connection;
mod fault;
mod frame;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use self::fault::Rule;
pub use self::fault::{Effect, Fault, Requests};

/// Ends with the connections that go through it when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    upstream: watch::Sender<Option<SocketAddr>>,
    shared: Arc<Shared>,
    /// Dropping it ends the thread; `None` only while dropping.
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections look at.
#[derive(Debug)]
struct Shared {
    rules: Mutex<Vec<Arc<Rule>>>,
    /// Nothing passes while this is set, on connections old and new.
    dark: watch::Sender<bool>,
    /// Counts the orders to reset all connections.
    resets: watch::Sender<u64>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface; connections wait until [`Proxy::forward_to`].
    ///
    /// Runs on a thread of its own, so that a test that blocks its runtime stops no traffic.
    ///
    /// # Errors
    ///
    /// When there is no port or no thread to be had.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            rules: Mutex::default(),
            dark: watch::Sender::new(false),
            resets: watch::Sender::new(0),
        });
        let upstream = watch::Sender::new(None);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (of_thread, target) = (Arc::clone(&shared), upstream.subscribe());
        let thread = std::thread::Builder::new().name(format!("proxy-{port}")).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // The sender sends nothing: it is dropped.
                    _ = stopped => {}
                    () = connection::accept(listener, target, of_thread) => {}
                }
            });
        })?;
        Ok(Self { port, upstream, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the broker behind the proxy.
    pub fn forward_to(&self, broker: SocketAddr) {
        self.upstream.send_replace(Some(broker));
    }

    /// Does `effect` to these requests, or their answers, until the fault is lifted or dropped. Where several faults
    /// name a request, the oldest one counts.
    pub fn inject(&self, requests: Requests, effect: Effect) -> Fault {
        let rule = Arc::new(Rule::new(requests, effect));
        lock(&self.shared.rules).push(Arc::clone(&rule));
        Fault::new(rule, Arc::clone(&self.shared))
    }

    /// Lets nothing pass in either direction until [`Proxy::lighten`]: connections stay open and new ones are accepted.
    pub fn darken(&self) {
        self.shared.dark.send_replace(true);
    }

    /// Ends [`Proxy::darken`]: what was on its way arrives.
    pub fn lighten(&self) {
        self.shared.dark.send_replace(false);
    }

    /// Resets every connection that is open now, on both sides.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(port = self.port, "the proxy's thread panicked");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
