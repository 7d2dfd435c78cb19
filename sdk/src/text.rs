//! Building short messages without `core::fmt`, whose machinery would be most of a small guest.

use alloc::string::String;

use crate::quantity::Grams;

/// Appends a number in decimal.
pub fn push_integer(text: &mut String, number: u64) {
    if number >= 10 {
        push_integer(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Appends a weight as [`Grams`]'s `Display` shows it: `120`, `120.5`, `0.001`.
pub fn push_grams(text: &mut String, grams: Grams) {
    push_milligrams(text, grams.mg());
}

/// Appends milligrams as grams, like [`push_grams`]: for sums that one weight does not hold.
pub fn push_milligrams(text: &mut String, mg: u64) {
    push_integer(text, mg / 1_000);
    let mut rest = mg % 1_000;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        text.push(char::from(b'0' + (rest / 100) as u8));
        rest = rest % 100 * 10;
    }
}

/// Joins `parts` into one text.
#[must_use]
pub fn concat(parts: &[&str]) -> String {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        text.push_str(part);
    }
    text
}

/// Makes `text` fit an answer's field: at most `bytes_max` bytes, cut at a character's end, and a
/// space in place of each control character (a message is one line).
pub(crate) fn tidy(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    if text.chars().any(char::is_control) {
        *text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_weights_read_as_display_shows_them(mg in 0..=Grams::MAX.mg()) {
            let grams = Grams::from_mg(mg).ok_or_else(|| TestCaseError::fail("range"))?;
            let (mut integer, mut weight) = (String::new(), String::new());
            push_integer(&mut integer, mg);
            push_grams(&mut weight, grams);
            prop_assert_eq!(integer, mg.to_string());
            prop_assert_eq!(weight, grams.to_string());
        }

        #[test]
        fn tidied_text_fits_and_is_one_line(text in any::<String>(), max in 0_usize..20) {
            let mut tidied = text.clone();
            tidy(&mut tidied, max);
            prop_assert!(tidied.len() <= max && !tidied.chars().any(char::is_control));
            prop_assert!(text.len() > max || tidied.chars().count() == text.chars().count());
        }
    }
}
