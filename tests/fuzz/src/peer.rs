//! What comes over a connection between nodes.
//!
//! Byte 0 chooses: a request's body, an answer's body, or a stream of frames that arrives in
//! pieces of the size in byte 1.

use bytes::{Bytes, BytesMut};
use raft3d_engine::bounds;
use raft3d_engine::raft::frame::{self, Frame};
use raft3d_engine::raft::message::{AdminAsk, Answer, Ask, Request};

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, body)) = input.split_first() else {
        return false;
    };
    match kind % 3 {
        0 => request(&Bytes::copy_from_slice(body)),
        1 => answer(&Bytes::copy_from_slice(body)),
        _ => stream(body),
    }
}

/// An append has no equality: the bytes stand for it.
fn request(body: &Bytes) -> bool {
    let Ok(request) = Request::decode(body) else {
        return false;
    };
    check_bounds(&request);
    let canonical = request.encode();
    let again = Request::decode(&canonical).expect("what was encoded decodes");
    assert_eq!(again.encode(), canonical);
    if let (Request::Ask(one), Request::Ask(other)) = (&request, &again) {
        assert_eq!(one, other);
    }
    let short = canonical.slice(..canonical.len() - 1);
    assert!(Request::decode(&short).is_err(), "cut off: {request:?}");
    true
}

/// What Raft would not survive, or a log would not hold, is no request.
fn check_bounds(request: &Request) {
    match request {
        Request::Append(append) => {
            let first = append.prev_log_id.map_or(0, |prev| prev.index + 1);
            for (index, entry) in (first..).zip(&append.entries) {
                assert_eq!(bounds::entry(entry), Ok(()));
                assert_eq!(entry.log_id.index, index, "{request:?}");
                assert!(entry.log_id.leader_id <= append.vote.leader_id);
            }
            assert_eq!(bounds::vote(&append.vote), Ok(()));
        }
        Request::Ask(Ask::Join(member) | Ask::Admin(AdminAsk::AddLearner(member))) => {
            assert_eq!(bounds::member(member), Ok(()));
        }
        Request::Ask(Ask::Vote(ask)) => assert_eq!(bounds::vote(&ask.vote), Ok(())),
        Request::Ask(Ask::SnapshotBegin(begin)) => {
            let membership = begin.membership.membership();
            assert_eq!(bounds::membership(membership), Ok(()));
        }
        Request::Ask(_) => {}
    }
}

fn answer(body: &Bytes) -> bool {
    let Ok(answer) = Answer::decode(body) else {
        return false;
    };
    let canonical = answer.encode();
    let again = Answer::decode(&canonical).expect("what was encoded decodes");
    assert_eq!(again, answer);
    let short = canonical.slice(..canonical.len() - 1);
    assert!(Answer::decode(&short).is_err(), "cut off: {answer:?}");
    true
}

/// Frames come out the same however the bytes arrive, and are what was put in.
fn stream(input: &[u8]) -> bool {
    let Some((step, bytes)) = input.split_first() else {
        return false;
    };
    let whole = frames(bytes, bytes.len().max(1));
    assert_eq!(frames(bytes, usize::from(*step).max(1)), whole);
    let (taken, refused) = whole;
    let mut rebuilt = Vec::new();
    for Frame { id, body } in &taken {
        rebuilt.extend(frame::header(*id, body).expect("no larger than it was"));
        rebuilt.extend_from_slice(body);
    }
    assert!(bytes.starts_with(&rebuilt), "frames are what was sent");
    !taken.is_empty() && !refused
}

/// The frames, and whether the connection was closed.
fn frames(bytes: &[u8], step: usize) -> (Vec<Frame>, bool) {
    let mut read = BytesMut::new();
    let mut taken = Vec::new();
    for piece in bytes.chunks(step) {
        read.extend_from_slice(piece);
        loop {
            match frame::take(&mut read) {
                Ok(Some(frame)) => taken.push(frame),
                Ok(None) => break,
                Err(_) => return (taken, true),
            }
        }
    }
    (taken, false)
}
