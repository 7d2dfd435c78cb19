//! The tutorial in `examples/README.md`, step by step as it stands there, on a real cluster: what
//! an author is told to type is what is tested.

use std::path::Path;
use std::process::Command;

use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_cluster_tests::process::binary;
use raft3d_cluster_tests::{Cluster, Options};

use crate::support::ended;

/// What each step must end with, and what it must say: (exit code, all of these).
const EXPECTED: [(i32, &[&str]); 16] = [
    (0, &["wrote the policy spare-filament"]),
    (0, &["3 passed"]),
    (0, &["hooks: admission", "spare-filament.wasm"]),
    (
        0,
        &["module_bytes", "configuration: good", "allow on the sample"],
    ),
    (0, &["\"verdict\": \"allow\"", "\"gas\": "]),
    (
        0,
        &["\"verdict\": \"deny\"", "too_little_left", "leave 9.5 g"],
    ),
    (
        1,
        &[
            "\"error\": \"unreachable\"",
            "\"panic\": \"the job fits (",
            "lib.rs:",
        ],
    ),
    (
        0,
        &["spare-filament 0.1.0 uploaded", "spare-filament@0.1.0"],
    ),
    (0, &[]),
    (2, &["+ keep-some (asked at place 1)"]),
    (0, &["+ keep-some", "active: revision "]),
    (0, &["\"MK4\"", "too_little_left"]),
    (0, &["(back to ", "\"Queued\""]),
    (0, &["keep-some", "no more stubs of filament"]),
    (0, &["\"accepted\":true", "\"kind\":\"allow\""]),
    (
        2,
        &[
            "binding 'keep-some'",
            "admission, now allowed:",
            "1 of 1 answers would be others",
        ],
    ),
];

/// The fenced `sh` blocks, in order.
fn steps(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let step: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            steps.push(step.join("\n"));
        }
    }
    steps
}

/// Runs a step as a shell does, and stops at its first command that fails.
fn run(step: &str, folder: &Path, node: &str) -> (Option<i32>, String) {
    let program = binary();
    let path = std::env::var("PATH").expect("a PATH");
    let bin = program.parent().expect("a folder").display();
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", step])
        .current_dir(folder)
        .env("PATH", format!("{bin}:{path}"))
        .env("RAFT3D_NODE", node)
        .env_remove("CARGO_TARGET_DIR");
    ended(&mut shell)
}

#[test]
fn the_tutorial_works_as_it_stands() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/README.md");
    let text = std::fs::read_to_string(readme).expect("the tutorial");
    let steps = steps(&text);
    assert_eq!(
        steps.len(),
        EXPECTED.len(),
        "a step of examples/README.md has no expectation here, or the other way round"
    );
    let cluster = Cluster::start("tutorial", Options::nodes(3));
    let node = format!("http://{}", cluster.http_addr(cluster.follower()));
    let folder = scratch_folder("tutorial-author");
    for (step, (code, words)) in steps.iter().zip(EXPECTED) {
        let (ended, said) = run(step, &folder, &node);
        assert_eq!(ended, Some(code), "{step}\n{said}");
        for word in words {
            assert!(said.contains(word), "no {word:?} after\n{step}\n{said}");
        }
    }

    // What is active again is what was there before: the file would change it once more.
    let (ended, said) = run("raft3d ruleset diff ruleset.json", &folder, &node);
    assert_eq!(ended, Some(2), "{said}");
    // A revision that somebody else replaced is not rolled back to unseen, nor is nothing there.
    let (ended, said) = run("raft3d ruleset rollback 999999", &folder, &node);
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    // What is no module is refused with its file, before anything is sent.
    let (ended, said) = run("raft3d policy push ruleset.json", &folder, &node);
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("ruleset.json: not_wasm: "), "{said}");
    // A shipped module is written as it was built in.
    let export = "raft3d policy library --export standard-deduction out.wasm
        raft3d policy check out.wasm";
    let (ended, said) = run(export, &folder, &node);
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("deduction   take on the sample"), "{said}");
    // A wrong configuration is refused with its field, and changes nothing.
    let wrong = "sed 's/50000/-1/' ruleset.json > wrong.json; raft3d ruleset apply wrong.json";
    let (ended, said) = run(wrong, &folder, &node);
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("keep_in_mg"), "{said}");
    // The schema names every place at once, before the cluster is asked.
    let (ended, said) = run("raft3d ruleset diff wrong.json", &folder, &node);
    assert_eq!(ended, Some(2), "{said}");
    let refused = "! apply would be refused: /bindings/0/config/keep_in_mg: ";
    assert!(said.contains(refused), "{said}");
    let check = "raft3d policy check spare-filament/spare-filament.wasm \
        --config '{\"keep_in_mg\":-1,\"colour\":1}'";
    let (ended, said) = run(check, &folder, &node);
    assert_eq!(ended, Some(1), "{said}");
    for place in ["--config /colour: ", "--config /keep_in_mg: "] {
        assert!(said.contains(place), "{place}: {said}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
