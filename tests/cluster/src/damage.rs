//! Damaging files.
