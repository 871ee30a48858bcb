//! What clients see.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /keys/{key}` with the value | 200 once it is applied, with what was there before |
//! | `DELETE /keys/{key}` | the same |
//! | `GET /keys/{key}` | the value as no earlier answer contradicts it, or 404 |
//! | `GET /local` | everything that this node has applied, which may be behind |
//! | `GET /status` | where each group stands |
//!
//! What only a group's leader can do is redirected to it with 307. 503 means that it is not known
//! whether a change was made, or that there is no leader at the moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use serde::Serialize;
use tokio::time::timeout;

use crate::machine::{Command, Config};
use crate::node::Node;

/// A value and its key have to fit into an entry of the log, of 16 MiB: a larger one would be a
/// storage error, and would stop the node.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/keys/{key}", get(value).put(put).delete(remove))
        .route("/local", get(local))
        .route("/status", get(status))
        .layer(DefaultBodyLimit::max(MAX_VALUE_BYTES))
        .with_state(node)
}

type At = State<Arc<Node>>;

async fn put(State(node): At, uri: Uri, Path(key): Path<String>, value: String) -> Response {
    write(&node, &uri, Command { key, value: Some(value) }).await
}

async fn remove(State(node): At, uri: Uri, Path(key): Path<String>) -> Response {
    write(&node, &uri, Command { key, value: None }).await
}

async fn write(node: &Node, uri: &Uri, command: Command) -> Response {
    let Some(group) = node.group_of(&command.key) else { return unknown("there are no groups") };
    match timeout(LIMIT, group.raft.client_write(command)).await {
        Ok(Ok(answer)) => Json(answer.data).into_response(),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => redirect(&to, uri),
        Ok(Err(error)) => unknown(&error.to_string()),
        Err(_) => unknown("it takes too long"),
    }
}

async fn value(State(node): At, uri: Uri, Path(key): Path<String>) -> Response {
    let Some(group) = node.group_of(&key) else { return unknown("there are no groups") };
    match timeout(LIMIT, group.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await {
        Ok(Ok(_)) => match group.machine.value(&key) {
            Some(value) => value.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
            redirect(&to, &uri)
        }
        Ok(Err(error)) => unknown(&error.to_string()),
        Err(_) => unknown("it takes too long"),
    }
}

async fn local(State(node): At) -> Json<BTreeMap<String, String>> {
    Json(node.groups().iter().flat_map(|group| group.machine.all()).collect())
}

/// Where a group stands, as its node knows.
#[derive(Serialize)]
struct GroupStatus {
    leader: Option<u64>,
    term: u64,
    last_index: Option<u64>,
    applied_index: Option<u64>,
    snapshot_index: Option<u64>,
    purged_index: Option<u64>,
}

async fn status(State(node): At) -> Json<Vec<GroupStatus>> {
    let of_group = |group: &crate::node::Group| {
        let metrics = group.raft.metrics();
        let metrics = metrics.borrow_watched();
        GroupStatus {
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_index: metrics.last_log_index,
            applied_index: metrics.last_applied.map(|id| id.index),
            snapshot_index: metrics.snapshot.map(|id| id.index),
            purged_index: metrics.purged.map(|id| id.index),
        }
    };
    Json(node.groups().iter().map(of_group).collect())
}

fn redirect(to: &ForwardToLeader<Config>, uri: &Uri) -> Response {
    match &to.leader_node {
        Some(leader) => {
            let location = format!("http://{}{}", leader.http, uri.path());
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        None => unknown("there is no leader"),
    }
}

fn unknown(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()).into_response()
}
