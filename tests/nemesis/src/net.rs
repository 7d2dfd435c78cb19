//! The network between the nodes: one proxy in front of each node's peer port.
//!
//! A node is told its peers' proxies and dials those. Who dials is found out from the kernel
//! (`/proc`): the nodes are taken as they are, and nothing here knows their protocol. Each
//! direction of each pair can be cut, slowed down and made to stutter on its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rng::Rng;

/// Moved at once, in bytes, at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a lost packet holds up what follows it: Linux's shortest time until it is sent again.
const RESEND: Duration = Duration::from_millis(200);

/// How one direction between two nodes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Nothing comes through. It is not lost: it comes later, or the connection ends.
    pub cut: bool,
    /// Everything comes so much later …
    pub delay: Duration,
    /// … and up to so much more.
    pub jitter: Duration,
    /// One in so many chunks comes later by the time that a lost packet takes; 0: none.
    pub lost_one_in: u64,
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections made.
    pub connections: u64,
    /// Connections ended by a fault.
    pub reset: u64,
    /// Chunks that passed.
    pub chunks: u64,
    /// Chunks that a cut held up.
    pub held: u64,
    /// Chunks that came later.
    pub delayed: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            reset: self.reset + other.reset,
            chunks: self.chunks + other.chunks,
            held: self.held + other.held,
            delayed: self.delayed + other.delayed,
        }
    }
}

struct Connection {
    ends: [usize; 2],
    streams: [TcpStream; 2],
    ended: AtomicBool,
}

#[derive(Default)]
struct Inner {
    links: BTreeMap<(usize, usize), Link>,
    processes: BTreeMap<u32, usize>,
    connections: Vec<Arc<Connection>>,
    counts: Counts,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network. Nodes are named by their place in the fleet.
pub struct Net {
    shared: Arc<Shared>,
    doors: Vec<SocketAddr>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("counts", &self.counts())
            .finish()
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    /// A network without nodes.
    #[must_use]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let doors = Vec::new();
        Self { shared, doors }
    }

    /// Listens at `door` for who wants to reach the node at `place`, whose peer port is `target`.
    ///
    /// # Errors
    /// Where `door` cannot be listened on.
    pub fn open(
        &mut self,
        place: usize,
        door: SocketAddr,
        target: SocketAddr,
    ) -> std::io::Result<()> {
        let listener = TcpListener::bind(door)?;
        let shared = Arc::clone(&self.shared);
        self.doors.push(door);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.lock().closed {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || connect(&shared, stream, door, place, target));
            }
        });
        Ok(())
    }

    /// The process of the node at `place`.
    pub fn process(&self, place: usize, pid: u32) {
        let mut inner = self.shared.lock();
        inner.processes.retain(|_, other| *other != place);
        inner.processes.insert(pid, place);
    }

    /// Sets how it is from one node to another.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.shared.lock().links.insert((from, to), link);
        self.shared.changed.notify_all();
    }

    /// Cuts one direction.
    pub fn cut(&self, from: usize, to: usize) {
        let link = Link {
            cut: true,
            ..Link::default()
        };
        self.set(from, to, link);
    }

    /// Everything is as it should be. What was held up comes through now or, where `reset` is
    /// set, its connections end.
    pub fn heal(&self, reset: bool) {
        let mut inner = self.shared.lock();
        let links = std::mem::take(&mut inner.links);
        if reset {
            let cut = |a, b| links.get(&(a, b)).is_some_and(|link| link.cut);
            let mut ended = 0;
            for connection in &inner.connections {
                let [a, b] = connection.ends;
                if cut(a, b) || cut(b, a) {
                    end(connection);
                    ended += 1;
                }
            }
            inner.counts.reset += ended;
        }
        drop(inner);
        self.shared.changed.notify_all();
    }

    /// What has passed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.closed = true;
        inner
            .connections
            .iter()
            .for_each(|connection| end(connection));
        drop(inner);
        self.shared.changed.notify_all();
        for door in &self.doors {
            // Wakes the one who listens, so that it sees that it is over.
            let _ = TcpStream::connect(door);
        }
    }
}

fn end(connection: &Connection) {
    connection.ended.store(true, Ordering::Relaxed);
    for stream in &connection.streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Sees to one connection until it ends.
fn connect(shared: &Arc<Shared>, dialed: TcpStream, door: SocketAddr, to: usize, at: SocketAddr) {
    let Ok(dialer) = dialed.peer_addr() else {
        return;
    };
    let processes = shared.lock().processes.clone();
    let Some(from) = whose(dialer, door, &processes) else {
        return;
    };
    // Both ways are needed to make a connection.
    let mut inner = shared.lock();
    while !inner.closed && (is_cut(&inner, from, to) || is_cut(&inner, to, from)) {
        inner = shared
            .changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner);
    }
    drop(inner);
    let Ok(reached) = TcpStream::connect(at) else {
        return;
    };
    let _ = (dialed.set_nodelay(true), reached.set_nodelay(true));
    let (Ok(dialed_too), Ok(reached_too)) = (dialed.try_clone(), reached.try_clone()) else {
        return;
    };
    let connection = Arc::new(Connection {
        ends: [from, to],
        streams: [dialed_too, reached_too],
        ended: AtomicBool::new(false),
    });
    let mut inner = shared.lock();
    inner.connections.push(Arc::clone(&connection));
    inner.counts.connections += 1;
    let number = inner.counts.connections;
    drop(inner);
    let back = {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
        std::thread::spawn(move || carry(&shared, &connection, 1, Rng::part(number, 1)))
    };
    carry(shared, &connection, 0, Rng::part(number, 0));
    let _ = back.join();
    let mut inner = shared.lock();
    inner
        .connections
        .retain(|other| !Arc::ptr_eq(other, &connection));
}

fn is_cut(inner: &Inner, from: usize, to: usize) -> bool {
    inner.links.get(&(from, to)).is_some_and(|link| link.cut)
}

/// Carries what comes from end `side` of a connection to its other end.
fn carry(shared: &Shared, connection: &Connection, side: usize, mut rng: Rng) {
    let (from, to) = (connection.ends[side], connection.ends[1 - side]);
    let (mut source, mut sink) = (&connection.streams[side], &connection.streams[1 - side]);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(read @ 1..) = source.read(&mut chunk) else {
            break;
        };
        let later = pass(shared, connection, from, to, &mut rng);
        if !later.is_zero() {
            std::thread::sleep(later);
        }
        if sink.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    // A node that was killed sends nothing more and takes nothing more.
    end(connection);
    shared.changed.notify_all();
}

/// Waits until a chunk may pass; answers by how much later it has to come.
fn pass(
    shared: &Shared,
    connection: &Connection,
    from: usize,
    to: usize,
    rng: &mut Rng,
) -> Duration {
    let mut inner = shared.lock();
    inner.counts.chunks += 1;
    let mut held = false;
    while is_cut(&inner, from, to) && !connection.ended.load(Ordering::Relaxed) && !inner.closed {
        inner.counts.held += u64::from(!held);
        held = true;
        inner = shared
            .changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner);
    }
    let link = inner.links.get(&(from, to)).copied().unwrap_or_default();
    let jitter = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
    let mut later = link.delay + Duration::from_micros(rng.below(jitter));
    if link.lost_one_in > 0 && rng.one_in(link.lost_one_in) {
        later += RESEND;
    }
    inner.counts.delayed += u64::from(!later.is_zero());
    later
}

/// The place of the node whose process holds the socket `local`, connected to `remote`.
fn whose(local: SocketAddr, remote: SocketAddr, nodes: &BTreeMap<u32, usize>) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    let inode = table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let matches = words.next() == Some(local.as_str()) && words.next() == Some(remote.as_str());
        // After both addresses: state, queues, timer, retransmits, user, timeout, inode.
        matches.then(|| words.nth(6)).flatten()
    })?;
    let socket = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let handles = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = handles
            .flatten()
            .filter_map(|handle| fs::read_link(handle.path()).ok());
        links
            .any(|link| link.as_os_str() == socket.as_str())
            .then_some(())
    };
    nodes
        .iter()
        .find(|(pid, _)| holds(**pid).is_some())
        .map(|(_, place)| *place)
}

/// An address as `/proc/net/tcp` shows it: the IP as the machine's number, both in hexadecimal.
fn in_table(addr: SocketAddr) -> Option<String> {
    let SocketAddr::V4(addr) = addr else {
        return None;
    };
    let ip: Ipv4Addr = *addr.ip();
    Some(format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        addr.port()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Long enough for a loaded machine to carry a few bytes; only a broken test waits so long.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// So long nothing may come through a cut.
    const SILENCE: Duration = Duration::from_millis(300);

    /// This process as the node 0, dialing an echo that is the node 1.
    fn bed() -> (Net, TcpStream) {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = echo.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in echo.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut out = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut { stream }, &mut out);
                });
            }
        });
        let door = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut net = Net::new();
        net.process(0, std::process::id());
        net.open(1, door, target).unwrap();
        let stream = TcpStream::connect(door).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (net, stream)
    }

    fn echoed(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    #[test]
    fn a_cut_holds_up_one_direction_until_it_is_healed() {
        let (net, mut stream) = bed();
        assert_eq!(echoed(&mut stream, 1).unwrap(), 1);
        // The echo hears us and we do not hear it.
        net.cut(1, 0);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        assert!(echoed(&mut stream, 2).is_err());
        net.heal(false);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [2], "it was held up, not lost");
        assert_eq!(net.counts().held, 1);
    }

    #[test]
    fn a_healed_cut_may_end_its_connections() {
        let (net, mut stream) = bed();
        assert_eq!(echoed(&mut stream, 1).unwrap(), 1);
        net.cut(0, 1);
        stream.write_all(&[2]).unwrap();
        net.heal(true);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(net.counts().reset, 1);
    }

    #[test]
    fn a_delay_is_at_least_what_it_says() {
        let (net, mut stream) = bed();
        assert_eq!(echoed(&mut stream, 1).unwrap(), 1);
        let delay = Duration::from_millis(50);
        let link = Link {
            delay,
            ..Link::default()
        };
        net.set(0, 1, link);
        let sent = Instant::now();
        assert_eq!(echoed(&mut stream, 2).unwrap(), 2);
        assert!(sent.elapsed() >= delay);
        assert_eq!(net.counts().delayed, 1);
    }

    #[test]
    fn who_is_no_node_is_not_let_through() {
        let (net, _) = bed();
        net.process(0, 1);
        let mut stranger = TcpStream::connect(net.doors[0]).unwrap();
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(echoed(&mut stranger, 1).is_err());
    }
}
