//! The `raft3d` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A write makes some hundreds of small allocations on several threads: with glibc's allocator
/// they took a sixth of its processor time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    raft3d_server::memory::use_small_pages();
    raft3d_server::cli::run()
}
