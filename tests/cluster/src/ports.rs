//! Loopback ports that stay ours while a test runs.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// First port handed out.
const PORT_MIN: u16 = 12_000;
/// Last port handed out. Below Linux's ephemeral range (32,768 and up): a port that the kernel may
/// lend to an outgoing connection could be gone when a killed node wants it back.
const PORT_MAX: u16 = 31_999;

/// A port that no other test on this machine takes while this value lives.
///
/// The claim is a locked file: the kernel drops the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: File,
}

impl Port {
    /// Claims a port that nobody listens on.
    #[must_use]
    pub fn claim() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let span = PORT_MAX - PORT_MIN + 1;
        // Spread test processes over the range, so that they seldom try the same port.
        let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(span)).unwrap();
        for _ in 0..span {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = PORT_MIN + offset.wrapping_add(step) % span;
            if let Some(port) = Self::try_claim(number) {
                return port;
            }
        }
        panic!("no free port between {PORT_MIN} and {PORT_MAX}");
    }

    /// Claims this port, where nobody has it.
    #[must_use]
    pub fn try_claim(number: u16) -> Option<Self> {
        let folder = std::env::temp_dir().join("raft3d-test-ports");
        std::fs::create_dir_all(&folder).expect("the folder for port claims");
        let path: PathBuf = folder.join(number.to_string());
        let claim = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .ok()?;
        claim.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _claim: claim,
        })
    }

    /// The address on loopback.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Claims `count` ports in a row (`raft3d dev` numbers its nodes upwards from a first port).
#[must_use]
pub fn claim_row(count: u16) -> Vec<Port> {
    for _ in 0..200 {
        let first = Port::claim();
        let mut row = vec![first];
        while u16::try_from(row.len()).unwrap() < count {
            match Port::try_claim(row.last().unwrap().number + 1) {
                Some(next) => row.push(next),
                None => break,
            }
        }
        if u16::try_from(row.len()).unwrap() == count {
            return row;
        }
    }
    panic!("no {count} free ports in a row");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_not_given_twice() {
        let row = claim_row(3);
        let numbers: Vec<u16> = row.iter().map(Port::number).collect();
        assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
        for number in numbers {
            assert!(
                Port::try_claim(number).is_none(),
                "{number} was claimed twice"
            );
        }
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let number = {
            let port = Port::claim();
            port.number()
        };
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        assert!(Port::try_claim(number).is_none());
    }
}
