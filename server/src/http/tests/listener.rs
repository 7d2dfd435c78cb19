//! Real connections: what only shows on the wire.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Shop;
use crate::http::limits::{
    CONNECTION_IDLE_TIME_MIN, CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, WRITE_STALL_TIME_MAX,
};
use crate::http::serve;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    start_with(Shop::new().router()).await
}

async fn start_with(router: axum::Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, router, async { drop(stopped.await) }));
    Server {
        address,
        stop,
        task,
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Everything that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_that_still_sends_sees_why_its_body_is_too_large() {
    let server = start().await;
    let mut stream = connect(&server).await;
    let length = 3 * 1024 * 1024;
    let head = format!(
        "POST /printers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("/docs/problems/body-too-large"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = start().await;
    let mut stream = connect(&server).await;
    let head = "POST /printers HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{\"id\"";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("raft3d-revision: "), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_server_goes_on() {
    let server = start().await;
    let mut stream = connect(&server).await;
    stream
        .write_all(b"\x16\x03\x01 hello\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut stream = connect(&server).await;
    let request = "GET /printers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

/// An idle connection does not hold up the stop, and an open request is still answered.
#[tokio::test]
async fn stopping_finishes_open_requests() {
    let server = start().await;
    let idle = connect(&server).await;
    let mut open = connect(&server).await;
    let body = "{\"company\":\"a\",\"model\":\"b\"}";
    let head = format!(
        "POST /printers HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    open.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    open.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue\r\n"));
    server.stop.send(()).unwrap();
    open.write_all(body.as_bytes()).await.unwrap();
    let answer = rest(&mut open).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    server.task.await.unwrap();
    drop(idle);
}

/// An answer that knows whether anybody still sends it.
struct Sent {
    chunks: usize,
    /// Closed once the answer is dropped, sent or not.
    _on_its_way: oneshot::Sender<()>,
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_given_up() {
    static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    const CHUNKS: usize = 1024;
    // Generous: the clock of the promise begins with the answer's last progress, whenever a busy
    // machine comes to that.
    const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);
    let (on_its_way, mut given_up) = oneshot::channel();
    let on_its_way = Arc::new(Mutex::new(Some(on_its_way)));
    let large = axum::routing::get(async move || {
        let sent = Sent {
            chunks: 0,
            _on_its_way: on_its_way.lock().unwrap().take().unwrap(),
        };
        Body::from_stream(futures_util::stream::unfold(sent, async |mut sent| {
            sent.chunks += 1;
            let chunk = Bytes::from_static(&CHUNK);
            (sent.chunks <= CHUNKS).then_some((Ok::<_, Infallible>(chunk), sent))
        }))
    });
    let server = start_with(axum::Router::new().route("/", large)).await;
    let mut stream = connect(&server).await;
    let asked = Instant::now();
    let head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let waited = tokio::time::timeout(GIVEN_UP_WITHIN, &mut given_up).await;
    assert!(waited.is_ok(), "the server still waits for its client");
    assert!(
        asked.elapsed() >= WRITE_STALL_TIME_MAX,
        "it has no patience"
    );
    let mut answer = Vec::new();
    // Ends with the end of the stream or a reset, as the kernel likes it.
    let _ = stream.read_to_end(&mut answer).await;
    let whole = CHUNK.len() * CHUNKS;
    assert!(answer.len() < whole, "{} bytes", answer.len());
}

/// A connection that comes from that address of the loopback network.
async fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(server.address).await.unwrap()
}

const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// The first bytes of the answer to one request; none if the connection is closed.
async fn ask(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = [0; 2048];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes));
    let read = read.await.unwrap().ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&bytes[..read]).into_owned())
}

/// 1,024 connections of one client that did nothing kept everybody else out for as long as it liked.
#[tokio::test]
async fn one_address_keeps_no_other_one_out() {
    let server = start().await;
    let mut held = Vec::new();
    // Each says half of a request and no more, from several addresses, far more than there is room for.
    for last in [2, 3] {
        for _ in 0..CONNECTIONS_MAX * 2 {
            let mut stream = connect_from(&server, last).await;
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
            held.push(stream);
        }
    }
    for last in [4, 5, 6] {
        let mut stream = connect_from(&server, last).await;
        for _ in 0..3 {
            let answer = ask(&mut stream, HEALTHZ).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        held.push(stream);
    }
    let mut stream = connect_from(&server, 7).await;
    let metrics = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(metrics.as_bytes()).await.unwrap();
    let text = rest(&mut stream).await;
    let value = |name: &str| -> usize {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap()
    };
    assert!(value("raft3d_http_connections ") <= CONNECTIONS_MAX);
    assert_eq!(value("raft3d_http_connections_max "), CONNECTIONS_MAX);
    assert!(value("raft3d_http_connections_of_one_address ") <= CONNECTIONS_OF_ONE_MAX);
    assert_eq!(value("raft3d_http_addresses "), 6);
    let lost = value("raft3d_http_connections_displaced_total ");
    let refused = value("raft3d_http_connections_refused_total ");
    assert!(lost + refused >= CONNECTIONS_MAX * 3, "{lost} {refused}");
}

/// One address, as that of a reverse proxy, has most places, takes back what lies idle, and is told when
/// everything is in use.
#[tokio::test]
async fn an_address_with_all_its_connections_in_use_is_told_to_come_again() {
    let server = start().await;
    let mut busy = Vec::new();
    // The body does not come: the request is under way.
    let half = "POST /printers HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    for _ in 0..CONNECTIONS_OF_ONE_MAX {
        let mut stream = connect_from(&server, 2).await;
        stream.write_all(half.as_bytes()).await.unwrap();
        busy.push(stream);
    }
    tokio::time::sleep(CONNECTION_IDLE_TIME_MIN).await;
    let mut refused = connect_from(&server, 2).await;
    let answer = ask(&mut refused, HEALTHZ).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("/docs/problems/overloaded"), "{answer}");
    // Others come in without costing a request that is under way.
    let mut other = connect_from(&server, 3).await;
    let answer = ask(&mut other, HEALTHZ).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for stream in &mut busy {
        let answer = ask(stream, "}").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
}
