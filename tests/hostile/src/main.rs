//! Plays hostile modules for as long as it is told: `cargo xtask hostile`.

fn main() {}
