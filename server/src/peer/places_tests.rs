//! Places and budgets of connections, on the loopback interface.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use raft3d_engine::raft::frame::{self, MAGIC};
use raft3d_engine::raft::transport::{Channel, Hello, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::guests::Patience;
use super::tests::{PATIENCE, Server, call, party, route, serve_on, serve_with};
use crate::telemetry::testing::Logged;

const MIB: usize = 1024 * 1024;
/// What the tests below must not be faster than.
const SOON: Duration = Duration::from_millis(300);

fn hello(from: u8, channel: Channel) -> Hello {
    Hello {
        from: party(from),
        ..route("", channel).hello
    }
}

fn frame_of(id: u64, body: &[u8]) -> Vec<u8> {
    [frame::header(id, body).unwrap().as_slice(), body].concat()
}

/// A connection of that node, greeted.
async fn greeted(server: &Server, from: u8, channel: Channel) -> TcpStream {
    let mut stream = TcpStream::connect(&server.addr).await.unwrap();
    let hello = minicbor::to_vec(hello(from, channel)).unwrap();
    let greeting = [MAGIC.as_slice(), &frame_of(0, &hello)].concat();
    stream.write_all(&greeting).await.unwrap();
    let mut header = [0; frame::HEADER_BYTES];
    stream.read_exact(&mut header).await.unwrap();
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    stream
        .read_exact(&mut vec![0; length as usize])
        .await
        .unwrap();
    stream
}

/// Whether the other side closes within `time`, whatever it says before.
async fn is_closed_within(stream: &mut TcpStream, time: Duration) -> bool {
    timeout(time, async {
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await
    .is_ok()
}

/// Requests of 6 MB, 120 of them at once, were taken into memory: 2.5 GB on one connection.
#[tokio::test]
async fn a_connection_holds_no_more_than_its_budget_and_goes_on_when_there_is_room() {
    let server = serve_on("127.0.0.1:0").await;
    let transport = super::transport();
    let log = route(&server.addr, Channel::Log);
    let body = Bytes::from([b"hold".as_slice(), &vec![0; MIB - 4]].concat());
    let held: Vec<_> = (0..60)
        .map(|_| transport.call(log.clone(), body.clone(), PATIENCE))
        .collect();
    let held = tokio::spawn(futures_util::future::join_all(held));
    let handled = || server.echo.handled.load(Ordering::SeqCst);
    let end = Instant::now() + PATIENCE;
    while handled() < 16 {
        assert!(Instant::now() < end, "only {} are handled", handled());
        sleep(Duration::from_millis(10)).await;
    }
    sleep(SOON).await;
    assert_eq!(handled(), 16, "16 MiB are held at the most");
    // Another channel does not wait for it.
    let control = route(&server.addr, Channel::Control);
    assert_eq!(call(&transport, &control, "now").await.unwrap(), "now");
    server.echo.gate.add_permits(60);
    for answer in held.await.unwrap() {
        assert_eq!(answer.unwrap(), body);
    }
}

/// Nor do many small ones without an end.
#[tokio::test]
async fn small_calls_count_too() {
    let server = serve_on("127.0.0.1:0").await;
    let mut stream = greeted(&server, 1, Channel::Control).await;
    let calls: Vec<u8> = (0..5_000).flat_map(|id| frame_of(id, b"hold")).collect();
    stream.write_all(&calls).await.unwrap();
    sleep(SOON).await;
    assert!(server.echo.handled.load(Ordering::SeqCst) <= 1_024);
}

#[tokio::test]
async fn all_strangers_together_leave_members_their_room() {
    let server = serve_on("127.0.0.1:0").await;
    let large = frame_of(1, &[b"hold".as_slice(), &vec![0; 5 * MIB]].concat());
    let mut strangers = Vec::new();
    for n in 0..12 {
        let mut stream = greeted(&server, 100 + n, Channel::Forward).await;
        let large = large.clone();
        strangers.push(tokio::spawn(async move {
            let _ = stream.write_all(&large).await;
            stream
        }));
    }
    sleep(SOON).await;
    let handled = server.echo.handled.load(Ordering::SeqCst);
    assert!(handled <= 3, "{handled} requests of 5 MiB are held");
    let transport = super::transport();
    for channel in [Channel::Control, Channel::Log, Channel::Forward] {
        let member = route(&server.addr, channel);
        assert_eq!(call(&transport, &member, "now").await.unwrap(), "now");
    }
    strangers.iter().for_each(|stranger| stranger.abort());
}

/// 300 connections that say nothing, and 200 that are greeted and say nothing more.
#[tokio::test]
async fn strangers_shut_no_member_out() {
    let server = serve_on("127.0.0.1:0").await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(&server.addr).await.unwrap());
    }
    let transport = super::transport();
    let kept = route(&server.addr, Channel::Log);
    assert_eq!(call(&transport, &kept, "first").await.unwrap(), "first");
    let mut strangers = Vec::new();
    for n in 0..200 {
        strangers.push(greeted(&server, 20 + n, Channel::Log).await);
    }
    for channel in [Channel::Control, Channel::Forward, Channel::Log] {
        let member = route(&server.addr, channel);
        assert_eq!(call(&transport, &member, "now").await.unwrap(), "now");
    }
    let mut open = 0;
    for stranger in &mut strangers {
        open += usize::from(!is_closed_within(stranger, Duration::from_millis(5)).await);
    }
    assert!(open <= 64, "{open} strangers are connected");
    drop(silent);
}

fn short() -> Patience {
    Patience {
        handshake: Duration::from_millis(100),
        frame: Duration::from_millis(200),
        write: Duration::from_millis(200),
        idle_member: Duration::from_millis(400),
        idle_control: Duration::from_millis(300),
        idle_stranger: Duration::from_millis(200),
    }
}

#[tokio::test]
async fn whoever_does_nothing_is_let_go() {
    let server = serve_with("127.0.0.1:0", short()).await;
    // Before the handshake, at each of its steps.
    let hello = minicbor::to_vec(hello(1, Channel::Log)).unwrap();
    let greeting = [MAGIC.as_slice(), &frame_of(0, &hello)].concat();
    for sent in [0, 1, MAGIC.len(), MAGIC.len() + 7, greeting.len() - 1] {
        let mut stream = TcpStream::connect(&server.addr).await.unwrap();
        stream.write_all(&greeting[..sent]).await.unwrap();
        assert!(
            is_closed_within(&mut stream, PATIENCE).await,
            "{sent} bytes"
        );
    }
    for (from, channel) in [(1, Channel::Control), (1, Channel::Log), (9, Channel::Bulk)] {
        let mut stream = greeted(&server, from, channel).await;
        assert!(is_closed_within(&mut stream, PATIENCE).await);
        // In the middle of a frame, of its header, and behind a call that was answered.
        let call = frame_of(1, &[7; 1_000]);
        for sent in [1, frame::HEADER_BYTES, 500, call.len()] {
            let mut stream = greeted(&server, from, channel).await;
            stream.write_all(&call[..sent]).await.unwrap();
            assert!(
                is_closed_within(&mut stream, PATIENCE).await,
                "{sent} bytes"
            );
        }
    }
    // A call that takes long is no idleness.
    let mut stream = greeted(&server, 1, Channel::Forward).await;
    stream.write_all(&frame_of(1, b"hold")).await.unwrap();
    assert!(!is_closed_within(&mut stream, Duration::from_secs(1)).await);
    server.echo.gate.add_permits(1);
    assert!(is_closed_within(&mut stream, PATIENCE).await);
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answers_is_let_go() {
    let server = serve_with("127.0.0.1:0", short()).await;
    let mut stream = greeted(&server, 1, Channel::Log).await;
    let body = vec![7; MIB];
    let sent = async {
        for id in 0..100 {
            stream.write_all(&frame_of(id, &body)).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let ended = timeout(PATIENCE, sent).await;
    assert!(matches!(ended, Ok(Err(_))), "{ended:?}");
    assert!(server.echo.handled.load(Ordering::SeqCst) < 100);
}

#[tokio::test]
async fn a_request_that_no_sound_node_sends_on_that_channel_closes_its_connection() {
    let server = serve_on("127.0.0.1:0").await;
    for (channel, bytes) in [(Channel::Control, MIB + 1), (Channel::Bulk, 2 * MIB + 1)] {
        let mut stream = greeted(&server, 1, channel).await;
        let _ = stream.write_all(&frame_of(1, &vec![0; bytes])).await;
        assert!(is_closed_within(&mut stream, PATIENCE).await);
    }
    // An announcement alone is enough, before the handshake too.
    let mut stream = TcpStream::connect(&server.addr).await.unwrap();
    let header = frame::header(0, &[0; 4_097]).unwrap();
    let sent = [MAGIC.as_slice(), &header].concat();
    stream.write_all(&sent).await.unwrap();
    assert!(is_closed_within(&mut stream, Duration::from_secs(2)).await);
    assert_eq!(server.echo.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn refusals_are_told_once_for_an_address() {
    const REFUSED: &str = "a peer's connection is refused";
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = serve_on("127.0.0.1:0").await;
    for _ in 0..50 {
        let transport = super::transport();
        let mut wrong: Route = route(&server.addr, Channel::Control);
        wrong.hello.to = party(9);
        assert!(
            call(&transport, &wrong, "x")
                .await
                .unwrap_err()
                .never_sent()
        );
    }
    let told = logged.text();
    assert_eq!(told.matches(REFUSED).count(), 1, "{told}");
    assert!(told.contains("127.0.0.1"), "{told}");
}

/// Each of a member's connections could hold 8 MiB of answers that it does not read.
#[tokio::test]
async fn all_answers_to_one_member_have_one_budget() {
    let server = serve_on("127.0.0.1:0").await;
    let mut unread = Vec::new();
    for _ in 0..12 {
        let mut stream = greeted(&server, 1, Channel::Log).await;
        let calls: Vec<u8> = (0..40).flat_map(|id| frame_of(id, b"large")).collect();
        stream.write_all(&calls).await.unwrap();
        unread.push(stream);
    }
    sleep(2 * SOON).await;
    let handled = server.echo.handled.load(Ordering::SeqCst);
    // What the kernel takes from each connection comes on top.
    assert!(handled <= 16 + 12 * 5, "{handled} answers of a mebibyte");
    // They are given back with the connections, and others do not wait for them.
    let other = greeted(&server, 9, Channel::Forward).await;
    drop((unread, other));
    let transport = super::transport();
    let log = route(&server.addr, Channel::Log);
    assert_eq!(call(&transport, &log, "now").await.unwrap(), "now");
}

/// On the control channel a member that says nothing for long is gone; on the others it may be at rest.
#[tokio::test]
async fn how_long_a_member_may_be_silent_goes_by_the_channel() {
    let patience = Patience {
        idle_control: Duration::from_millis(200),
        idle_member: PATIENCE,
        ..Patience::default()
    };
    let server = serve_with("127.0.0.1:0", patience).await;
    let mut log = greeted(&server, 1, Channel::Log).await;
    let mut control = greeted(&server, 1, Channel::Control).await;
    assert!(is_closed_within(&mut control, PATIENCE).await);
    assert!(!is_closed_within(&mut log, SOON).await);
}
