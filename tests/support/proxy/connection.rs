//! One connection through the proxy: requests one way, answers the other, each as the faults in force have it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fault::{Effect, Rule};
use super::frame::Frame;
use super::{Shared, lock};

/// Messages of one direction that may wait to be written: more than a client has under way.
const WAITING: usize = 256;

pub(super) async fn accept(
    listener: std::net::TcpListener,
    mut upstream: watch::Receiver<Option<SocketAddr>>,
    shared: Arc<Shared>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let Ok(Some(upstream)) = upstream.wait_for(Option::is_some).await.map(|target| *target) else { return };
    // Dropped with this future: the end of the proxy is the end of its connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, upstream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    // A broker that is not there looks to the client as it would without a proxy: the connection is closed.
    let Ok(mut broker) = TcpStream::connect(upstream).await else { return };
    if client.set_nodelay(true).is_err() || broker.set_nodelay(true).is_err() {
        return;
    }
    let mut resets = shared.resets.subscribe();
    let end = {
        let wire = Wire { shared, is_dead: watch::Sender::new(false), marked: Mutex::default() };
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let (requests, to_pass) = mpsc::channel(WAITING);
        let (answers, to_answer) = mpsc::channel(WAITING);
        let pass = async {
            tokio::try_join!(
                wire.read_requests(from_client, requests),
                wire.write(to_pass, to_broker),
                wire.read_answers(from_broker, answers),
                wire.write(to_answer, to_client),
            )
        };
        tokio::select! {
            end = pass => end.map(|_| ()),
            _ = resets.changed() => Err(Reset),
        }
    };
    if end.is_err() {
        // A side that is gone already needs no reset.
        client.set_zero_linger().ok();
        broker.set_zero_linger().ok();
    }
}

/// Both sides are to see a reset. Whatever else breaks a side is passed on as its end.
#[derive(Debug)]
struct Reset;

/// A request or an answer on its way.
#[derive(Debug)]
struct Message {
    frame: Frame,
    due: Instant,
    held_by: Option<Arc<Rule>>,
}

/// What the two directions of a connection share.
#[derive(Debug)]
struct Wire {
    shared: Arc<Shared>,
    /// Half-open: nothing passes any more.
    is_dead: watch::Sender<bool>,
    /// The faults that wait for answers, by the number of the request.
    marked: Mutex<HashMap<i32, Arc<Rule>>>,
}

impl Wire {
    async fn read_requests(&self, mut from: ReadHalf<'_>, outbox: mpsc::Sender<Message>) -> Result<(), Reset> {
        while let Ok(Some(frame)) = Frame::read(&mut from).await {
            let rule = self.rule_for(&frame);
            let mut request = Message { frame, due: Instant::now(), held_by: None };
            match rule.as_ref().map(|rule| rule.effect) {
                Some(Effect::Reset) => return Err(Reset),
                Some(Effect::HoldRequest) => request.held_by = rule,
                Some(Effect::HoldRequestAlone) => {
                    tokio::spawn(later(request, rule, outbox.clone()));
                    continue;
                }
                Some(Effect::HalfOpen) => {
                    self.is_dead.send_replace(true);
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
            if outbox.send(request).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn rule_for(&self, frame: &Frame) -> Option<Arc<Rule>> {
        let header = frame.header_of_request()?;
        let rule = lock(&self.shared.rules).iter().find(|rule| rule.takes(&header)).map(Arc::clone)?;
        lock(&self.marked).insert(header.correlation, Arc::clone(&rule));
        Some(rule)
    }

    async fn read_answers(&self, mut from: ReadHalf<'_>, outbox: mpsc::Sender<Message>) -> Result<(), Reset> {
        while let Ok(Some(frame)) = Frame::read(&mut from).await {
            let marked = frame.correlation_of_answer().and_then(|number| lock(&self.marked).remove(&number));
            let mut answer = Message { frame, due: Instant::now(), held_by: None };
            match marked.as_ref().map(|rule| rule.effect) {
                Some(Effect::LoseAnswer) => continue,
                Some(Effect::ResetAfterApply) => return Err(Reset),
                Some(Effect::HoldAnswer) => answer.held_by = marked,
                Some(Effect::Delay(delay)) => answer.due += delay,
                Some(Effect::HoldAnswerAlone) => {
                    tokio::spawn(later(answer, marked, outbox.clone()));
                    continue;
                }
                _ => {}
            }
            if outbox.send(answer).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes what comes to its end, though the other side may be gone: what is held still has to get there.
    async fn write(&self, mut inbox: mpsc::Receiver<Message>, mut to: WriteHalf<'_>) -> Result<(), Reset> {
        let mut is_open = true;
        while let Some(message) = inbox.recv().await {
            tokio::time::sleep_until(message.due).await;
            if let Some(rule) = message.held_by {
                rule.lifted().await;
            }
            self.light().await;
            is_open = is_open && to.write_all(message.frame.as_bytes()).await.is_ok();
        }
        // The other side may have closed it already.
        to.shutdown().await.ok();
        Ok(())
    }

    /// Waits while nothing may pass.
    async fn light(&self) {
        // The senders live as long as this.
        self.shared.dark.subscribe().wait_for(|dark| !dark).await.ok();
        if *self.is_dead.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sends a message on when its fault is lifted. Until then its direction stays open.
async fn later(message: Message, rule: Option<Arc<Rule>>, outbox: mpsc::Sender<Message>) {
    if let Some(rule) = rule {
        rule.lifted().await;
    }
    // The connection may have been reset meanwhile.
    outbox.send(message).await.ok();
}
