//! The little of the module format (WebAssembly core specification, section 5.5) that is needed to
//! take custom sections out and put one in.

use anyhow::{Context, Result, ensure};

/// Magic number and version 1 of the binary format.
const HEADER: &[u8] = b"\0asm\x01\0\0\0";
/// Id of custom sections.
const CUSTOM: u8 = 0;

/// The module without any custom section: names, producers and the like tell of the machine that
/// built it and change nothing.
pub(super) fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    let mut rest = module
        .strip_prefix(HEADER)
        .context("not a WebAssembly module")?;
    let mut kept = HEADER.to_vec();
    while let [id, after_id @ ..] = rest {
        let (len, body) = read_leb(after_id).context("a section without a length")?;
        let (body, next) = body
            .split_at_checked(len)
            .context("a section that is cut off")?;
        if *id != CUSTOM {
            kept.push(*id);
            push_leb(&mut kept, body.len());
            kept.extend_from_slice(body);
        }
        rest = next;
    }
    ensure!(kept.len() > HEADER.len(), "an empty module");
    Ok(kept)
}

/// Appends a custom section.
pub(super) fn push_custom_section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut body = Vec::with_capacity(name.len() + content.len() + 5);
    push_leb(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    module.push(CUSTOM);
    push_leb(module, body.len());
    module.extend_from_slice(&body);
}

/// An unsigned LEB128 of at most 32 bits, and what follows it.
fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

fn push_leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "A test may end where a value is missing."
    )]
    use super::*;

    #[test]
    fn custom_sections_go_and_one_comes() {
        let mut module = HEADER.to_vec();
        push_custom_section(&mut module, "name", &[7; 300]);
        module.extend_from_slice(&[1, 2, 0xaa, 0xbb]);
        push_custom_section(&mut module, "producers", b"rustc");

        let mut kept = without_custom_sections(&module).unwrap();
        assert_eq!(kept, [HEADER, &[1, 2, 0xaa, 0xbb]].concat());
        push_custom_section(&mut kept, "m", &[9]);
        assert_eq!(
            kept,
            [HEADER, &[1, 2, 0xaa, 0xbb], &[0, 3, 1, b'm', 9]].concat()
        );
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bad in [
            &b""[..],
            b"\0asm",
            b"\0asm\x02\0\0\0",
            b"\0asm\x01\0\0\0\x01\x05\x00",
        ] {
            assert!(without_custom_sections(bad).is_err(), "{bad:?}");
        }
    }
}
