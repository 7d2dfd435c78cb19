//! The `raft3d` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    raft3d_server::cli::run()
}
