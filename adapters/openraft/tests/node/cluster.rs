//! A cluster of one node, alike for both versions.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use kvlogdb::LogStore;

use crate::{Checked, Version, ensure, v09, v010};

/// How long anything may take on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const GROUP: u64 = 3;
pub(crate) const NODE: u64 = 1;

/// A running node.
pub(crate) trait Node: Sized {
    /// Starts the node over its log in a store; the error is openraft's.
    fn start(store: &LogStore) -> impl Future<Output = Checked<Self>>;

    /// Writes a command through the log; the answer says how many there are with it.
    fn write(&self, command: String) -> impl Future<Output = Checked<u64>>;

    /// Waits until the node has applied what it knew before it was started.
    fn recover(&self) -> impl Future<Output = Checked>;

    /// Takes the leadership from a node that is not running: it has to vote once more.
    fn depose(store: &LogStore) -> impl Future<Output = Checked>;

    /// What was applied.
    fn commands(&self) -> Vec<String>;

    /// Why the node has stopped, once it has.
    fn stopped(&self) -> impl Future<Output = Checked<String>>;

    /// Ends the node.
    fn stop(self) -> impl Future<Output = Checked>;
}

/// Something that is done with a node of either version.
pub(crate) trait With {
    async fn with<N: Node>(self) -> Checked;
}

pub(crate) fn run(version: Version, scene: impl With) -> Checked {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        match version {
            Version::V09 => scene.with::<v09::Raft9>().await,
            Version::V010 => scene.with::<v010::Raft10>().await,
        }
    })
}

/// The command of a number. The bytes are its own, so that one in the place of another is noticed.
pub(crate) fn command(number: u64, len: usize) -> String {
    let mut command = format!("{number}:");
    let digits = number.to_string();
    while command.len() < len {
        command.push_str(&digits);
    }
    command
}

/// How many commands were applied, all of which must be the ones of their numbers, in order.
pub(crate) fn count(node: &impl Node, len: usize) -> Checked<u64> {
    let commands = node.commands();
    for (found, number) in commands.iter().zip(0..) {
        ensure!(*found == command(number, len), "command {number} is {}", head(found));
    }
    Ok(commands.len() as u64)
}

fn head(text: &str) -> &str {
    text.get(..20).unwrap_or(text)
}

/// Waits until `done` answers something.
pub(crate) async fn eventually<T>(what: impl Display, done: impl Fn() -> Option<T>) -> Checked<T> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = done() {
            return Ok(answer);
        }
        ensure!(tokio::time::Instant::now() < end, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
