//! Work that may wait for a disk, away from the threads that drive futures.

use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::Cause;

/// Runs `work` on tokio's threads for blocking work or, under another runtime, on one of its own.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Cause> {
    if let Ok(tokio) = Handle::try_current() {
        return tokio.spawn_blocking(work).await.map_err(|_| Cause::RuntimeEnded);
    }
    let (done, answer) = oneshot::channel();
    thread::Builder::new()
        .name("kvlogdb-read".into())
        .spawn(move || done.send(work()))
        .map_err(|_| Cause::RuntimeEnded)?;
    answer.await.map_err(|_| Cause::RuntimeEnded)
}
