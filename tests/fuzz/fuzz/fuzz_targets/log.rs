#![no_main]
libfuzzer_sys::fuzz_target!(init: raft3d_fuzz::quiet(), |input: &[u8]| {
    raft3d_fuzz::run("log", input);
});
