//! The way to the other nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use raft3d_engine::raft::transport::{PeerService, Route, Transport, TransportError};
use tokio::net::TcpListener;

struct NoPeers;

impl Transport for NoPeers {
    fn call(
        &self,
        route: Route,
        _body: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let reason = "this build has no peer transport".to_owned();
        ready(Err(TransportError::Unreachable {
            addr: route.addr,
            reason,
        }))
        .boxed()
    }
}

/// The way to the peers.
#[must_use]
pub fn transport() -> Arc<dyn Transport> {
    Arc::new(NoPeers)
}

/// Answers the peers that come to `listener`.
pub async fn serve(_listener: TcpListener, _service: Arc<dyn PeerService>) {
    std::future::pending::<()>().await;
}
