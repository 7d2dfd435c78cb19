//! Puts a node together: folder, stores, policy host, peers; and shows it as a [`Backend`].

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use tokio::net::TcpListener;

use crate::backend::Backend;
use crate::config::ServeConfig;

/// A node that runs.
pub struct RunningNode {
    /// For the handlers.
    pub backend: Arc<dyn Backend>,
}

impl RunningNode {
    /// Opens the folder and starts the node.
    ///
    /// # Errors
    /// What keeps it from starting, and what to do about it.
    pub async fn start(
        _config: &ServeConfig,
        _peer: TcpListener,
        _http: SocketAddr,
    ) -> anyhow::Result<Self> {
        bail!("this build has no storage yet")
    }

    /// Waits until the node has failed, and answers why.
    pub async fn fault(&self) -> String {
        std::future::pending().await
    }

    /// Stops the node.
    pub async fn shutdown(self) {}
}
