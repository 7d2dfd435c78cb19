//! Files of a later version of this program: told from damaged ones, and left as they are.
//!
//! The beginning of each file's format is frozen, so that its number is read before anything else is.
//! What a reader then says is one of *readable*, *newer* ([`NewerFormat`]: run that version), *older*,
//! and *damaged*. Only what is damaged is ever set aside or built anew: a newer file is whole, and the
//! version that wrote it wants it back.

use std::path::PathBuf;

use thiserror::Error;

/// A file was written by a later version of this program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{path} was written by a newer version of raft3d (format {found}; this program reads up to \
     {known}): run that version",
    path = path.display()
)]
pub struct NewerFormat {
    /// The file, or the folder whose format it is.
    pub path: PathBuf,
    /// Its format.
    pub found: u32,
    /// The newest format that this program reads.
    pub known: u32,
}

/// What a small file of text holds that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsealed<'a> {
    /// These lines, in the format that was asked for.
    Body(&'a str),
    /// It is whole, and of this later format.
    Newer(u32),
    /// It is not as it was written.
    Damaged,
}

/// The text of a small file: a line with kind and format, the lines of `body`, and a line with the
/// BLAKE3 of all before it. That first and that last line are the same in every format.
pub(super) fn seal(kind: &str, format: u32, body: &str) -> String {
    let text = format!("raft3d {kind} {format}\n{body}");
    let checksum = blake3::hash(text.as_bytes()).to_hex();
    format!("{text}blake3 {checksum}\n")
}

/// The body in a text that [`seal`] made.
pub(super) fn unseal<'a>(kind: &str, known: u32, text: &'a str) -> Unsealed<'a> {
    let read = || {
        let whole = text.strip_suffix('\n')?;
        let at = whole.rfind('\n')? + 1;
        let (sealed, last) = whole.split_at_checked(at)?;
        let checksum = last.strip_prefix("blake3 ")?;
        if blake3::hash(sealed.as_bytes()).to_hex().as_str() != checksum {
            return None;
        }
        let (first, body) = sealed.split_once('\n')?;
        let found = first
            .strip_prefix("raft3d ")?
            .strip_prefix(kind)?
            .strip_prefix(' ')?;
        Some((found.parse::<u32>().ok()?, body))
    };
    match read() {
        Some((found, body)) if found == known => Unsealed::Body(body),
        Some((found, _)) if found > known => Unsealed::Newer(found),
        _ => Unsealed::Damaged,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_is_told_from_a_newer_one_and_from_damage() {
        let text = seal("fence", 1, "line 1\nline 2\n");
        assert_eq!(
            unseal("fence", 1, &text),
            Unsealed::Body("line 1\nline 2\n")
        );
        assert_eq!(unseal("other", 1, &text), Unsealed::Damaged);
        let newer = seal("fence", 7, "something else\n");
        assert_eq!(unseal("fence", 1, &newer), Unsealed::Newer(7));
        assert_eq!(unseal("fence", 9, &newer), Unsealed::Damaged, "older");
        for whole in [&text, &newer] {
            for at in 0..whole.len() {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1;
                let flipped = String::from_utf8_lossy(&bytes).into_owned();
                assert_eq!(unseal("fence", 1, &flipped), Unsealed::Damaged, "{at}");
                let cut = whole.get(..at).unwrap_or_default();
                assert_eq!(unseal("fence", 1, cut), Unsealed::Damaged, "{at}");
            }
        }
        assert_eq!(unseal("fence", 1, ""), Unsealed::Damaged);
    }
}
