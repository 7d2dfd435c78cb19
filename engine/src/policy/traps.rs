//! What each trap comes to: a verdict that every replica reaches, or a fault of this one.

use raft3d_core::PolicyError;
use wasmtime::Trap;

/// What a trap comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapMeaning {
    /// The module did it: the same everywhere.
    Verdict(PolicyError),
    /// `unreachable`: the injected counters tell whether it is the module's own or theirs.
    AskCounters,
    /// This machine did it, or it cannot happen with the features that are allowed.
    LocalFault,
}

/// The table.
///
/// `Trap` is not exhaustive, so a trap that a later wasmtime adds is a local fault until it is
/// looked at; the test below fails until it stands in the list.
#[must_use]
pub const fn meaning(trap: Trap) -> TrapMeaning {
    use TrapMeaning::{AskCounters, LocalFault, Verdict};
    match trap {
        Trap::UnreachableCodeReached => AskCounters,
        Trap::MemoryOutOfBounds => Verdict(PolicyError::MemoryOutOfBounds),
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
            Verdict(PolicyError::BadIndirectCall)
        }
        Trap::IntegerOverflow => Verdict(PolicyError::IntegerOverflow),
        Trap::IntegerDivisionByZero => Verdict(PolicyError::DivisionByZero),
        // Native stack and watchdog: how far a module got depends on the machine.
        Trap::StackOverflow | Trap::Interrupt => LocalFault,
        // Fuel is off. Floats, threads, garbage collection, components and stack switching are
        // refused by the static check, so what follows never comes from a module.
        _ => LocalFault,
    }
}

/// The verdict behind an `unreachable`, by what the counters show.
#[must_use]
pub const fn behind_unreachable(gas_left: i64, stack_left: i32) -> PolicyError {
    if gas_left < 0 {
        PolicyError::OutOfGas
    } else if stack_left < 0 {
        PolicyError::StackOverflow
    } else {
        PolicyError::Unreachable
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Every trap of this wasmtime that is not a local fault.
    const VERDICTS: [(&str, TrapMeaning); 7] = [
        (
            "MemoryOutOfBounds",
            TrapMeaning::Verdict(PolicyError::MemoryOutOfBounds),
        ),
        (
            "TableOutOfBounds",
            TrapMeaning::Verdict(PolicyError::BadIndirectCall),
        ),
        (
            "IndirectCallToNull",
            TrapMeaning::Verdict(PolicyError::BadIndirectCall),
        ),
        (
            "BadSignature",
            TrapMeaning::Verdict(PolicyError::BadIndirectCall),
        ),
        (
            "IntegerOverflow",
            TrapMeaning::Verdict(PolicyError::IntegerOverflow),
        ),
        (
            "IntegerDivisionByZero",
            TrapMeaning::Verdict(PolicyError::DivisionByZero),
        ),
        ("UnreachableCodeReached", TrapMeaning::AskCounters),
    ];

    /// Every trap of this wasmtime that is one. A new name here was looked at by a person.
    const FAULTS: &str = include_str!("traps_local_faults.txt");

    #[test]
    fn every_trap_of_this_wasmtime_was_looked_at() {
        let mut seen = 0;
        for trap in (0..=u8::MAX).filter_map(Trap::from_u8) {
            let name = format!("{trap:?}");
            let listed = VERDICTS.iter().find(|row| row.0 == name).map(|row| row.1);
            let fault = FAULTS.lines().any(|line| line == name);
            assert!(
                listed.is_some() != fault,
                "trap {name} must stand in exactly one list"
            );
            assert_eq!(
                meaning(trap),
                listed.unwrap_or(TrapMeaning::LocalFault),
                "{name}"
            );
            seen += 1;
        }
        assert_eq!(
            seen,
            VERDICTS.len() + FAULTS.lines().count(),
            "a listed trap is gone"
        );
    }

    #[test]
    fn counters_tell_what_unreachable_was() {
        assert_eq!(behind_unreachable(-1, 5), PolicyError::OutOfGas);
        assert_eq!(behind_unreachable(5, -1), PolicyError::StackOverflow);
        assert_eq!(behind_unreachable(0, 0), PolicyError::Unreachable);
    }
}
