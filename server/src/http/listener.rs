//! Takes connections and serves them, within limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::limits::{
    HEAD_BYTES_MAX, HEAD_READ_TIME_MAX, REFUSAL_TIME_MAX, REFUSALS_MAX, SHUTDOWN_TIME_MAX,
    WRITE_STALL_TIME_MAX,
};
use super::places::{Places, Seat};
use super::problem::{Kind, Problem};
use super::stall::StallGuard;

/// How long to wait after a failed `accept`: it fails for want of file descriptors, and those come
/// back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop` completes; then open requests get
/// `SHUTDOWN_TIME_MAX` to finish.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Places::new();
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let (stopping, watch_stop) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = Box::pin(stop.fuse());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Some((seat, must_go)) = places.enter(from.ip()) {
            let connection = connection(stream, seat, router.clone(), watch_stop.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    _ = must_go => tracing::debug!(%from, "a connection goes for another one"),
                }
            });
        } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            connections.spawn(async move {
                refuse(stream).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    drop(stopping);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_TIME_MAX, finished)
        .await
        .is_err()
    {
        tracing::warn!("requests were still open at the end of the time for shutdown");
    }
}

/// Tells a client that its address has too many connections, and closes this one.
async fn refuse(mut stream: TcpStream) {
    let detail = "this address has as many connections to this node as one may have, all of them \
                  in use; use those, or close some";
    let body = Problem::new(Kind::Overloaded, detail).value().to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n\
         content-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}"
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client sends is read: closing before would take the answer from it.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(REFUSAL_TIME_MAX, told).await;
}

async fn connection(stream: TcpStream, seat: Seat, router: Router, mut stop: watch::Receiver<()>) {
    // Answers are small and whole: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let stream = StallGuard::new(stream, WRITE_STALL_TIME_MAX);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let busy = seat.begin();
        request.extensions_mut().insert(seat.guest());
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // The sender is dropped when the node stops.
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
