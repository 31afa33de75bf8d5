//! The proxy between a client that sends numbered requests and a broker that echoes them.

use std::time::Duration;

use rdkafka::types::RDKafkaApiKey as Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::frame::{Frame, RequestHeader};
use super::*;

const SOON: Duration = Duration::from_secs(20);
/// Long enough for what comes at once to have come.
const A_WHILE: Duration = Duration::from_millis(100);

/// A broker that answers each request with its number, and tells which it got, also after its client is gone.
async fn stage() -> (Proxy, mpsc::Receiver<i32>) {
    let proxy = Proxy::start().unwrap();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    proxy.forward_to(listener.local_addr().unwrap());
    let (tell, got) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Ok(Some(request)) = Frame::read(&mut stream).await {
                    let number = request.header_of_request().unwrap().correlation;
                    tell.send(number).await.unwrap();
                    let answer = [8_i32.to_be_bytes(), number.to_be_bytes(), [0; 4]].concat();
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (proxy, got)
}

struct Client {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        let (from, to) = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap().into_split();
        Self { from, to }
    }

    async fn send(&mut self, api: Api, number: i32) {
        let body = [&api_number(api).to_be_bytes()[..], &[0, 3], &number.to_be_bytes(), &[0, 4], b"shop"].concat();
        let length = i32::try_from(body.len()).unwrap().to_be_bytes();
        self.to.write_all(&[&length[..], &body].concat()).await.unwrap();
    }

    async fn answer(&mut self) -> std::io::Result<Option<i32>> {
        let answer = tokio::time::timeout(SOON, Frame::read(&mut self.from)).await.unwrap()?;
        Ok(answer.map(|answer| answer.correlation_of_answer().unwrap()))
    }

    async fn hears(&mut self, number: i32) {
        assert_eq!(self.answer().await.unwrap(), Some(number));
    }

    async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(A_WHILE, self.from.read_u8()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

fn api_number(api: Api) -> i16 {
    i16::try_from(api as i32).unwrap()
}

#[tokio::test]
async fn what_no_fault_names_passes_unchanged() {
    let (proxy, mut got) = stage().await;
    let fault = proxy.inject(Requests::to(Api::Fetch), Effect::LoseAnswer);
    let other = proxy.inject(Requests::to(Api::Heartbeat).of_client("bakery"), Effect::Reset);
    let mut client = Client::connect(&proxy).await;
    for number in 1..4 {
        client.send(Api::Heartbeat, number).await;
        client.hears(number).await;
        assert_eq!(got.recv().await, Some(number));
    }
    assert_eq!((fault.hits(), other.hits()), (0, 0));
}

#[tokio::test]
async fn a_lost_answer_is_of_a_request_that_was_carried_out() {
    let (proxy, mut got) = stage().await;
    let fault = proxy.inject(Requests::to(Api::OffsetCommit).first(1), Effect::LoseAnswer);
    let mut client = Client::connect(&proxy).await;
    client.send(Api::OffsetCommit, 1).await;
    client.send(Api::OffsetCommit, 2).await;
    client.hears(2).await;
    assert_eq!((got.recv().await, got.recv().await), (Some(1), Some(2)));
    assert_eq!(fault.hits(), 1);
}

#[tokio::test]
async fn a_held_answer_holds_up_those_behind_it_or_is_overtaken() {
    let (proxy, mut got) = stage().await;
    let mut client = Client::connect(&proxy).await;
    for (effect, order) in [(Effect::HoldAnswer, [1, 2]), (Effect::HoldAnswerAlone, [2, 1])] {
        let fault = proxy.inject(Requests::to(Api::OffsetCommit).first(1), effect);
        client.send(Api::OffsetCommit, 1).await;
        client.send(Api::OffsetCommit, 2).await;
        assert_eq!((got.recv().await, got.recv().await), (Some(1), Some(2)));
        if effect == Effect::HoldAnswer {
            client.hears_nothing().await;
            fault.lift();
            client.hears(order[0]).await;
        } else {
            client.hears(order[0]).await;
            client.hears_nothing().await;
            fault.lift();
        }
        client.hears(order[1]).await;
    }
}

#[tokio::test]
async fn a_held_request_may_be_overtaken_on_its_connection() {
    let (proxy, mut got) = stage().await;
    let fault = proxy.inject(Requests::to(Api::OffsetCommit).first(1), Effect::HoldRequestAlone);
    let mut client = Client::connect(&proxy).await;
    client.send(Api::OffsetCommit, 1).await;
    client.send(Api::OffsetCommit, 2).await;
    client.hears(2).await;
    fault.lift();
    client.hears(1).await;
    assert_eq!((got.recv().await, got.recv().await), (Some(2), Some(1)));
}

#[tokio::test]
async fn a_held_request_arrives_although_its_sender_is_gone() {
    let (proxy, mut got) = stage().await;
    let fault = proxy.inject(Requests::to(Api::OffsetCommit).first(1), Effect::HoldRequest);
    let mut client = Client::connect(&proxy).await;
    client.send(Api::OffsetCommit, 1).await;
    fault.wait_for_hits(1, SOON).await.unwrap();
    drop(client);
    let mut client = Client::connect(&proxy).await;
    client.send(Api::OffsetCommit, 2).await;
    client.hears(2).await;
    assert_eq!(got.recv().await, Some(2));
    fault.lift();
    assert_eq!(got.recv().await, Some(1));
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_request_is_carried_out() {
    for (effect, is_carried_out) in [(Effect::Reset, false), (Effect::ResetAfterApply, true)] {
        let (proxy, mut got) = stage().await;
        let _fault = proxy.inject(Requests::to(Api::OffsetCommit), effect);
        let mut client = Client::connect(&proxy).await;
        client.send(Api::OffsetCommit, 1).await;
        let end = client.answer().await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset, "{effect:?}");
        assert_eq!(got.try_recv().is_ok(), is_carried_out, "{effect:?}");
    }
}

#[tokio::test]
async fn all_connections_are_reset_on_demand() {
    let (proxy, _got) = stage().await;
    let mut client = Client::connect(&proxy).await;
    client.send(Api::Heartbeat, 1).await;
    client.hears(1).await;
    proxy.reset();
    assert_eq!(client.answer().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_half_open_connection_is_dead_and_a_new_one_is_not() {
    let (proxy, mut got) = stage().await;
    let fault = proxy.inject(Requests::to(Api::Heartbeat).first(1), Effect::HalfOpen);
    let mut client = Client::connect(&proxy).await;
    client.send(Api::OffsetCommit, 1).await;
    client.hears(1).await;
    client.send(Api::Heartbeat, 2).await;
    fault.wait_for_hits(1, SOON).await.unwrap();
    client.send(Api::OffsetCommit, 3).await;
    client.hears_nothing().await;
    let mut other = Client::connect(&proxy).await;
    other.send(Api::Heartbeat, 4).await;
    other.hears(4).await;
    assert_eq!((got.recv().await, got.recv().await), (Some(1), Some(4)));
}

#[tokio::test]
async fn in_the_dark_nothing_passes_and_then_all_of_it() {
    let (proxy, mut got) = stage().await;
    let mut client = Client::connect(&proxy).await;
    client.send(Api::Heartbeat, 1).await;
    client.hears(1).await;
    proxy.darken();
    let mut other = Client::connect(&proxy).await;
    client.send(Api::Heartbeat, 2).await;
    other.send(Api::Heartbeat, 3).await;
    client.hears_nothing().await;
    other.hears_nothing().await;
    assert_eq!(got.recv().await, Some(1));
    assert!(got.try_recv().is_err());
    proxy.lighten();
    client.hears(2).await;
    other.hears(3).await;
}

#[tokio::test]
async fn delayed_answers_keep_their_order_and_do_not_add_up() {
    const DELAY: Duration = Duration::from_millis(200);
    const MANY: i32 = 50;
    let (proxy, _got) = stage().await;
    let _fault = proxy.inject(Requests::all(), Effect::Delay(DELAY));
    let mut client = Client::connect(&proxy).await;
    let began = std::time::Instant::now();
    for number in 0..MANY {
        client.send(Api::Fetch, number).await;
    }
    for number in 0..MANY {
        client.hears(number).await;
    }
    let took = began.elapsed();
    assert!(took >= DELAY && took < DELAY * 25, "{took:?}");
}

#[test]
fn a_header_is_read_whatever_the_client_calls_itself() {
    let frame = |name: &[u8]| [&[0; 4][..], &8_i16.to_be_bytes(), &[0, 9], &7_i32.to_be_bytes(), name].concat();
    let header = |client_id: &str| RequestHeader { api: 8, correlation: 7, client_id: client_id.to_owned() };
    assert_eq!(Frame::new(frame(&[0, 4, b's', b'h', b'o', b'p'])).header_of_request(), Some(header("shop")));
    assert_eq!(Frame::new(frame(&[0xff, 0xff])).header_of_request(), Some(header("")));
    assert_eq!(Frame::new(frame(&[0, 9, b's'])).header_of_request(), None);
}
