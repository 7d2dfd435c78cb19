//! Where tasks run, what blocks and what is random: the one seam between production and the
//! simulation, so that both run the same engine.
//!
//! In production everything here is tokio and the operating system's randomness. A thread that
//! called [`simulate`] runs whole clusters one task at a time: nothing leaves the thread, and every
//! random number comes from openraft's deterministic source (`openraft-rt`), whose seed each task
//! inherits from the one that spawned it. There is no switch at compile time: features are unified
//! over a workspace, and what is simulated has to be what is shipped.

pub mod watch;

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

/// Longest simulated time that work takes which production does on a thread of its own,
/// milliseconds.
const SIMULATED_WORK_MS_MAX: u64 = 20;

type Seeded = DeterministicRng<TokioRuntime>;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

/// This thread simulates until this is dropped.
#[derive(Debug)]
#[must_use = "the thread simulates only as long as this lives"]
pub struct Simulated {
    before: bool,
    /// The mark belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(self.before);
    }
}

/// Makes this thread one that simulates. Whatever of the engine runs on it must run in
/// [`seeded`]: a task without a seed panics rather than behave differently in every run.
pub fn simulate() -> Simulated {
    Simulated {
        before: SIMULATED.replace(true),
        _thread: PhantomData,
    }
}

/// Runs a future, and all tasks that it spawns, with random numbers that follow from `seed`.
pub fn seeded<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    Seeded::scope(seed, future)
}

/// Spawns a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if SIMULATED.get() {
        Seeded::spawn(future)
    } else {
        tokio::spawn(future)
    }
}

/// Runs what blocks on a thread for such work. Simulated, it runs here, after a while of simulated
/// time in which other tasks go on.
///
/// # Errors
/// The work panicked, or the runtime ended before it.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if SIMULATED.get() {
        let ms = Runtime::thread_rng().next_u64() % SIMULATED_WORK_MS_MAX;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(work())
    } else {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
    }
}

/// Runs what blocks in place, without holding up the other tasks of this runtime thread where it
/// has company.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Fills `bytes` with random ones.
///
/// # Errors
/// The system's random source failed.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    if SIMULATED.get() {
        Seeded::thread_rng().fill_bytes(bytes);
        Ok(())
    } else {
        getrandom::fill(bytes)
    }
}

/// openraft's runtime: tokio, with the random source of production or of the simulation.
#[derive(Debug)]
pub struct Runtime {
    tokio: TokioRuntime,
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = watch::FairWatch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    /// Asked for once per timeout of an election, so a generator of its own costs nothing.
    fn thread_rng() -> Self::ThreadLocalRng {
        if SIMULATED.get() {
            Seeded::thread_rng()
        } else {
            SmallRng::from_rng(&mut rand::rng())
        }
    }

    fn new(threads: usize) -> Self {
        let tokio = TokioRuntime::new(threads);
        Self { tokio }
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.tokio.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        off_thread(work)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_is_a_runtime_as_openraft_wants_it() {
        openraft_rt::testing::Suite::<Runtime>::test_all();
    }

    /// Numbers drawn by a task, by one that it spawns, and by work that blocks.
    async fn draw() -> Vec<u64> {
        let mut drawn = vec![Runtime::thread_rng().next_u64()];
        let mut bytes = [0; 8];
        let spawned = spawn(async move {
            fill_random(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        drawn.push(spawned.await.unwrap());
        let thread = std::thread::current().id();
        off_thread(move || assert_eq!(thread, std::thread::current().id()))
            .await
            .unwrap();
        drawn.push(Runtime::thread_rng().next_u64());
        drawn
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_every_number_of_a_simulated_thread() {
        let _simulated = simulate();
        let first = seeded(7, draw()).await;
        assert_eq!(first, seeded(7, draw()).await);
        assert_ne!(first, seeded(8, draw()).await);
    }

    #[tokio::test]
    async fn production_needs_no_seed_and_draws_fresh_numbers() {
        {
            let _simulated = simulate();
        }
        let mut drawn = [Runtime::thread_rng(), Runtime::thread_rng()];
        let [first, second] = &mut drawn;
        assert_ne!(first.next_u64(), second.next_u64());
        let thread = std::thread::current().id();
        let worker = off_thread(|| std::thread::current().id()).await.unwrap();
        assert_ne!(thread, worker);
    }
}
