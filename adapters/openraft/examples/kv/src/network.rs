//! How nodes talk: a TCP connection for each group and target, requests and answers one after the
//! other, each a length in four bytes and then postcard.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, VoteOf};
use openraft::{OptionalSend, RaftNetworkFactory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::machine::{Config, Peer};
use crate::node::Node;

/// A longer message is taken for noise.
const MAX_MESSAGE_BYTES: u32 = 256 << 20;
const CONNECT: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Append(AppendEntriesRequest<Config>),
    Vote(VoteRequest<Config>),
    Snapshot(VoteOf<Config>, SnapshotMetaOf<Config>, Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Response {
    Append(AppendEntriesResponse<Config>),
    Vote(VoteResponse<Config>),
    Snapshot(SnapshotResponse<Config>),
    /// The group cannot answer.
    Failed(String),
}

/// Makes the connections of one group.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) group: u64,
}

impl RaftNetworkFactory<Config> for Network {
    type Network = Connection;

    async fn new_client(&mut self, _target: u64, node: &Peer) -> Connection {
        Connection { group: self.group, address: node.raft.clone(), stream: None }
    }
}

/// One group's way to one node.
#[derive(Debug)]
pub(crate) struct Connection {
    group: u64,
    address: String,
    stream: Option<TcpStream>,
}

impl Connection {
    async fn call(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, RPCError<Config>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await.map_err(|error| Unreachable::new(&error))?,
        };
        let answer = timeout(limit, exchange(&mut stream, &(self.group, request))).await;
        let answer: Response =
            answer.map_err(io::Error::from).flatten().map_err(|error| NetworkError::new(&error))?;
        // After an error a late answer could come for another request: the connection is left.
        self.stream = Some(stream);
        Ok(answer)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = timeout(CONNECT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn exchange<T: DeserializeOwned>(
    stream: &mut TcpStream,
    request: &impl Serialize,
) -> io::Result<T> {
    send(stream, request).await?;
    receive(stream).await
}

async fn send(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_le_bytes()[..], &body].concat()).await
}

async fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let len = stream.read_u32_le().await?;
    if len > MAX_MESSAGE_BYTES {
        return Err(io::Error::other(format!("a message of {len} bytes")));
    }
    let mut body = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    stream.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

/// An answer that does not belong to its request, or says that there is none.
fn unfit(answer: Response) -> NetworkError<Config> {
    let said = match answer {
        Response::Failed(said) => said,
        other => format!("an answer to another request: {other:?}"),
    };
    NetworkError::new(&io::Error::other(said))
}

impl RaftNetworkV2<Config> for Connection {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        match self.call(&Request::Append(rpc), option.hard_ttl()).await? {
            Response::Append(answer) => Ok(answer),
            other => Err(unfit(other).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        match self.call(&Request::Vote(rpc), option.hard_ttl()).await? {
            Response::Vote(answer) => Ok(answer),
            other => Err(unfit(other).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Config>,
        snapshot: SnapshotOf<Config, Vec<u8>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let request = Request::Snapshot(vote, snapshot.meta, snapshot.snapshot);
        let answer = tokio::select! {
            answer = self.call(&request, option.hard_ttl()) => answer,
            closed = cancel => return Err(closed.into()),
        };
        match answer {
            Ok(Response::Snapshot(answer)) => Ok(answer),
            Ok(other) => Err(unfit(other).into()),
            Err(RPCError::Unreachable(error)) => Err(error.into()),
            Err(error) => Err(NetworkError::new(&error).into()),
        }
    }
}

/// Serves the other nodes, until the process ends.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>) {
    loop {
        // A failure is that of one connection, or of too many open files: others may come.
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let node = node.clone();
        tokio::spawn(async move {
            // A connection that fails is left; the other side makes another one.
            while let Ok((group, request)) = receive::<(u64, Request)>(&mut stream).await {
                let answer = answer(&node, group, request).await;
                if send(&mut stream, &answer).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn answer(node: &Node, group: u64, request: Request) -> Response {
    let Some(group) = node.group(group) else {
        return Response::Failed(format!("there is no group {group}"));
    };
    let failed = |error: &dyn std::error::Error| Response::Failed(error.to_string());
    match request {
        Request::Append(rpc) => {
            let answer = group.raft.append_entries(rpc).await;
            answer.map_or_else(|error| failed(&error), Response::Append)
        }
        Request::Vote(rpc) => {
            let answer = group.raft.vote(rpc).await;
            answer.map_or_else(|error| failed(&error), Response::Vote)
        }
        Request::Snapshot(vote, meta, snapshot) => {
            let answer = group.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
            answer.map_or_else(|error| failed(&error), Response::Snapshot)
        }
    }
}
