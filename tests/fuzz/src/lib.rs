//! What is fuzzed, each as a function of bytes, and the corpus that every test run replays.
