//! Prints this policy's manifest as CBOR. `cargo xtask policies` embeds it in the module.

fn main() -> std::io::Result<()> {
    raft3d_sdk::schema::print_manifest::<safety_margin::SafetyMargin>()
}
