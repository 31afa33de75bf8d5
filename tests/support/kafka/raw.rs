//! The two requests that the client library has no call for: who coordinates a group, and throwing a member out of it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::types::RDKafkaApiKey as Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Kafka;

const DEADLINE: Duration = Duration::from_secs(10);

impl Kafka {
    /// The number of the broker that coordinates a group.
    ///
    /// # Errors
    ///
    /// When nobody answers or nobody knows.
    pub async fn coordinator(&self, group: &str) -> anyhow::Result<i32> {
        Ok(self.find_coordinator(group).await?.0)
    }

    /// Leaves the group in a member's name, which hears of it when it next says something.
    ///
    /// # Errors
    ///
    /// When the group has no such member.
    pub async fn evict(&self, group: &str, client_id: &str) -> anyhow::Result<()> {
        let members = self.group(group).await?.members;
        let member = members.iter().find(|member| member.client_id == client_id);
        let member = member.with_context(|| format!("`{group}` has no member `{client_id}`"))?;
        let (_, address) = self.find_coordinator(group).await?;
        let body = [string(group)?, string(&member.member_id)?].concat();
        let answer = ask(&address, Api::LeaveGroup, 1, &body).await?;
        // Behind the time for which the broker throttles.
        let code = answer.get(4..6).context("the answer is too short")?;
        ensure!(code == [0, 0], "`{client_id}` cannot be thrown out of `{group}`: error {code:?}");
        Ok(())
    }

    /// Its number and its address.
    async fn find_coordinator(&self, group: &str) -> anyhow::Result<(i32, String)> {
        let mut last = anyhow::anyhow!("there are no brokers");
        for address in self.bootstrap_servers().split(',') {
            match ask(address, Api::FindCoordinator, 0, &string(group)?).await.and_then(|answer| parse(&answer)) {
                Ok(found) => return Ok(found),
                Err(err) => last = err,
            }
        }
        Err(last.context(format!("find the coordinator of `{group}`")))
    }
}

fn parse(answer: &[u8]) -> anyhow::Result<(i32, String)> {
    let parsed = || {
        let (code, rest) = answer.split_first_chunk::<2>()?;
        let (node, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (host, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (port, _) = rest.split_first_chunk::<4>()?;
        let address = format!("{}:{}", String::from_utf8_lossy(host), i32::from_be_bytes(*port));
        Some((i16::from_be_bytes(*code), i32::from_be_bytes(*node), address))
    };
    let (code, node, address) = parsed().context("the answer is too short")?;
    ensure!(code == 0, "error {code}");
    Ok((node, address))
}

/// Sends one request on a connection of its own; what comes back is the answer's body.
async fn ask(address: &str, api: Api, version: i16, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let asked = async {
        let mut broker = TcpStream::connect(address).await?;
        let mut request = i16::try_from(api as i32)?.to_be_bytes().to_vec();
        request.extend(version.to_be_bytes());
        // The number of the request, by which its answer is known.
        request.extend(1_i32.to_be_bytes());
        request.extend(string("witness")?);
        request.extend(body);
        broker.write_i32(i32::try_from(request.len())?).await?;
        broker.write_all(&request).await?;
        let mut answer = vec![0; usize::try_from(broker.read_i32().await?)?];
        broker.read_exact(&mut answer).await?;
        anyhow::Ok(answer.split_off(4.min(answer.len())))
    };
    tokio::time::timeout(DEADLINE, asked).await.context("no answer in time")?
}

/// Kafka's `STRING`: its length in two bytes, and itself.
fn string(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok([i16::try_from(text.len())?.to_be_bytes().as_slice(), text.as_bytes()].concat())
}
