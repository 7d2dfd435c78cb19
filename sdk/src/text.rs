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

/// Whether `text` is a JSON Pointer (RFC 6901): empty, or `/` before each part, in which `~` stands
/// only as `~0` or `~1`.
#[must_use]
pub fn is_pointer(text: &str) -> bool {
    let escapes_are_sound = || {
        let mut after_tildes = text.split('~').skip(1);
        after_tildes.all(|rest| rest.starts_with(['0', '1']))
    };
    text.is_empty() || text.starts_with('/') && escapes_are_sound()
}

/// Makes an answer's pointer fit its field: cut like [`tidy`]. What is no pointer is left out: the
/// host would refuse the whole answer, and a denial without its field is still one.
pub(crate) fn tidy_pointer(pointer: &mut Option<String>, bytes_max: usize) {
    let Some(text) = pointer else { return };
    tidy(text, bytes_max);
    if text.ends_with('~') {
        // The cut went through an escape.
        text.pop();
    }
    if !is_pointer(text) {
        *pointer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn pointers_are_those_of_the_rfc() {
        for good in ["", "/", "/a", "/a~1b/0", "/~0~1", "//", "/é"] {
            assert!(is_pointer(good), "{good}");
        }
        for bad in ["a", "status", "#/a", "/~", "/~2", "/a~", "~0"] {
            assert!(!is_pointer(bad), "{bad}");
        }
    }

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
        fn a_tidied_pointer_is_one(text in "(/([a~]|~0|~1|é)*){0,6}|.{0,20}", max in 0_usize..20) {
            let mut tidied = Some(text.clone());
            tidy_pointer(&mut tidied, max);
            prop_assert!(tidied.as_ref().is_none_or(|t| is_pointer(t) && t.len() <= max));
            let sound = is_pointer(&text) && !text.chars().any(char::is_control);
            if sound {
                prop_assert!(tidied.is_some_and(|tidied| text.starts_with(&tidied)));
            }
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
