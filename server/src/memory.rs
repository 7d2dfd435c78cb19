//! How the kernel gives this program memory.

/// Asks the kernel for pages of the usual size only, for this process and those that it starts.
///
/// The allocator gives back what is not used, and a node writes its changes to table files every few
/// seconds, so it comes and goes. Where Linux makes that transparent huge pages, each of them is 2 MiB
/// that are cleared at once: that took 8 % of the nodes' processor time at 64 clients and a third of
/// the p99, and a node held memory that it did not use. See `PR_SET_THP_DISABLE` in prctl(2).
pub fn use_small_pages() {
    // A kernel without huge pages, or a sandbox that does not let a process ask: then nothing is lost
    // but time.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
