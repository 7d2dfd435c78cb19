//! Reading what nodes log.

/// Levels, as tracing spells them.
const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Lines that are above `warn`: errors and panics. Colour codes are ignored.
#[must_use]
pub fn above_warn(log: &str) -> Vec<String> {
    log.lines()
        .map(without_colour)
        .filter(|line| is_above_warn(line))
        .collect()
}

fn is_above_warn(line: &str) -> bool {
    // The first level in the line is the line's: behind the time and, in `raft3d dev`, behind the
    // node's prefix, and in front of whatever the message says.
    let level = line
        .split_whitespace()
        .take(6)
        .find(|word| LEVELS.contains(word));
    level == Some("ERROR")
        || line.contains("panicked at")
        || line.contains("has overflowed its stack")
}

/// `line` without ANSI colour sequences.
fn without_colour(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

/// The last `count` lines.
#[must_use]
pub fn tail(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, above: bool) {
        assert_eq!(above_warn(line).len(), usize::from(above), "{line}");
    }

    #[test]
    fn errors_and_panics_are_above_warn_and_nothing_else() {
        check(
            "2026-01-01T00:00:00.000000Z ERROR raft3d: the disk is full",
            true,
        );
        check(
            "\u{1b}[2m2026-01-01T00:00:00Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m x: y",
            true,
        );
        check("node 2 | 2026-01-01T00:00:00Z ERROR x: y", true);
        check("thread 'main' panicked at server/src/main.rs:1:1:", true);
        check(
            "2026-01-01T00:00:00.000000Z  WARN raft3d: ERROR is only a word here",
            false,
        );
        check(
            "2026-01-01T00:00:00.000000Z  INFO raft3d: the answer was ERROR",
            false,
        );
    }

    #[test]
    fn the_tail_is_the_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
