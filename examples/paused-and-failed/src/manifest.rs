//! Prints this policy's manifest as CBOR. the build embeds it in the module.

fn main() -> std::io::Result<()> {
    raft3d_sdk::schema::print_manifest::<paused_and_failed::PausedAndFailed>()
}
