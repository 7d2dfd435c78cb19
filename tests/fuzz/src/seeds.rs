//! The inputs that a fuzzer starts from: one of each kind, made by the encoders themselves.
//!
//! `RAFT3D_BLESS=1 cargo test --workspace --test corpus seeds` writes them to `corpus/`.

mod bytes;
mod requests;
mod scripts;

/// An input and its name in the corpus.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target.
///
/// # Panics
/// There is no such target.
#[must_use]
pub fn of(target: &str) -> Vec<Seed> {
    let mut seeds = match target {
        "log" => scripts::log(),
        "snapshot" => scripts::snapshot(),
        "codec" => bytes::codec(),
        "module" => bytes::module(),
        "abi" => bytes::abi(),
        "envelope" => bytes::envelope(),
        "peer" => bytes::peer(),
        "http" => requests::http(),
        other => panic!("there is no target {other}"),
    };
    seeds.push(seed("garbage", "bytes of no meaning"));
    let named = seeds.into_iter();
    named
        .map(|(name, bytes)| (format!("seed-{name}"), bytes))
        .collect()
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (name.to_owned(), bytes.into())
}
