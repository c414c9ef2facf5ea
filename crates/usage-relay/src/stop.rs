//! SIGINT and SIGTERM: how a command that runs until it is told to stop is told.

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Ready once the process is asked to stop. From now on such a request no longer ends it by itself.
pub(crate) fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::CouldNot(format!("cannot listen for signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
