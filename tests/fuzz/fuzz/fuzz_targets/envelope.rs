#![no_main]

libfuzzer_sys::fuzz_target!(init: raft3d_fuzz::report_panics_only(), |input: &[u8]| {
    raft3d_fuzz::run("envelope", input);
});
