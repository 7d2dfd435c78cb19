//! Memory of guests that outlives a call.

use raft3d_engine::sabotage::Bug;

use crate::Turn;
use crate::guests::{TestHost, guest};

/// A guest that counts its calls in its memory and answers with one byte, the count.
fn counter() -> Vec<u8> {
    guest(
        r"(i32.store8 (i32.const 16) (i32.add (i32.load8_u (i32.const 16)) (i32.const 1)))
          (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 1))",
        "",
    )
}

#[test]
fn a_guest_remembers_earlier_calls() {
    let turn = Turn::new();
    let (host, module) = (TestHost::new(), counter());
    let count = || host.admission(&module, b"").output.unwrap();
    let gas = || host.admission(&module, b"").gas;
    let honest = (count(), count(), gas());
    assert_eq!(honest.0, honest.1, "every call has memory of its own");
    turn.arm(Bug::GuestMemoryReused);
    let counts: Vec<_> = (0..3).map(|_| count()[0]).collect();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(gas(), honest.2, "each call has the whole budget");
    turn.disarm();
    assert_eq!(count(), honest.0);
}
