//! What an evaluation costs beside the guest's own work: an instance that is put back or made anew,
//! by the pages of its memory and by those that the guest writes.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use raft3d_checkers::report::Table;
use raft3d_engine::core::Export;
use raft3d_engine::policy::Workbench;
use raft3d_engine::sdk::{Hook, testkit, wire};

use crate::gas::{processor_ms, with_manifest};
use crate::stats::short;
use crate::table::table;

/// Pages of memory: one, a few, what rustc and wasm-ld give with a stack of 1 MiB, the most.
const PAGES: [u32; 6] = [1, 2, 4, 17, 18, 32];
/// Small pages (4 KiB) of it that a call writes to: a stack, data and a heap; or all of them.
const WRITTEN: [Option<u32>; 2] = [Some(3), None];
/// Small pages in one page.
const SMALL: u32 = 16;
/// Evaluations that are measured together.
const EVALUATIONS: u32 = 5_000;
/// Evaluations before the first that is measured.
const WARM_UP: u32 = 500;

/// What one module's evaluations took.
#[derive(Debug)]
pub struct Cost {
    name: String,
    pages: u32,
    written: String,
    is_put_back: bool,
    /// Microseconds of processor time for one, the median of all rounds.
    us: f64,
}

/// Measures each of the modules, and those of other compilers if their folder is there.
///
/// # Errors
/// A module is refused, or does not answer.
pub fn run(rounds: usize) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for written in WRITTEN {
        for pages in PAGES {
            let count = written.unwrap_or(pages * SMALL);
            let bench = Workbench::new(&writing(pages, count)?)?;
            costs.push(Cost {
                name: "a guest that writes and answers".to_owned(),
                pages,
                written: count.to_string(),
                is_put_back: bench.puts_instances_back(),
                us: evaluation_us(&bench, &[0x80; 500], rounds)?,
            });
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/compilers");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "wasm"))
        .collect();
    files.sort();
    let config = testkit::config([("max_mg", 100_000_i64.into())]);
    let input = wire::encode_call(testkit::admission(), &config);
    for file in files {
        let bench = Workbench::new(&std::fs::read(&file)?)?;
        let memory = bench.report().limits_used.iter();
        let bytes = memory.filter(|used| used.limit == "memory_bytes");
        costs.push(Cost {
            name: file.file_name().unwrap_or_default().display().to_string(),
            pages: bytes.map(|used| (used.value / 65_536) as u32).sum(),
            written: "its own".to_owned(),
            is_put_back: bench.puts_instances_back(),
            us: evaluation_us(&bench, &input, rounds)?,
        });
    }
    Ok(costs)
}

fn evaluation_us(bench: &Workbench, input: &[u8], rounds: usize) -> Result<f64> {
    let evaluate = || {
        let trial = bench.evaluate(Export::Hook(Hook::Admission), input)?;
        ensure!(trial.evaluation.output.is_ok(), "{:?}", trial.evaluation);
        Ok(())
    };
    (0..WARM_UP).try_for_each(|_| evaluate())?;
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let begun = processor_ms()?;
        (0..EVALUATIONS).try_for_each(|_| evaluate())?;
        times.push((processor_ms()? - begun) * 1_000.0 / f64::from(EVALUATIONS));
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// A guest with so many pages, which writes to `count` small pages spread over all of them and then
/// allows.
fn writing(pages: u32, count: u32) -> Result<Vec<u8>> {
    let stride = pages * SMALL / count * 4_096;
    let text = format!(
        r#"(module (memory (export "memory") {pages})
             (data (i32.const 16) "\a0")
             (func (export "raft3d_abi_1"))
             (func (export "raft3d_alloc") (param i32) (result i32) (i32.const 1024))
             (func (export "check_config") (param i32 i32) (result i64)
               (i64.const 0x1000000001))
             (func (export "admission") (param i32 i32) (result i64)
               (local $at i32) (local $left i32)
               (local.set $left (i32.const {count}))
               (local.set $at (i32.const 2048))
               (loop $again
                 (i32.store (local.get $at) (i32.const -1))
                 (local.set $at (i32.add (local.get $at) (i32.const {stride})))
                 (br_if $again
                   (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
               (i64.const 0x1000000001)))"#
    );
    with_manifest(&text, "writing")
}

/// Each module with what an evaluation took.
#[must_use]
pub fn tables(costs: &[Cost]) -> Vec<Table> {
    let mut shown = table(
        "Processor time of an evaluation, by the memory of the guest".to_owned(),
        &[
            "module",
            "pages of 64 KiB",
            "pages of 4 KiB written",
            "instance",
            "us",
        ],
    );
    for cost in costs {
        let instance = if cost.is_put_back { "put back" } else { "new" };
        shown.rows.push(vec![
            cost.name.clone(),
            cost.pages.to_string(),
            cost.written.clone(),
            instance.to_owned(),
            short(cost.us),
        ]);
    }
    vec![shown]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_module_is_taken_and_the_table_says_which_are_put_back() {
        for pages in PAGES {
            for count in [3, pages * SMALL] {
                let bench = Workbench::new(&writing(pages, count).unwrap()).unwrap();
                assert_eq!(bench.puts_instances_back(), pages == 1, "{pages}");
                let trial = bench.evaluate(Export::Hook(Hook::Admission), b"").unwrap();
                assert_eq!(trial.evaluation.output.as_deref(), Ok(&[0xa0][..]));
            }
        }
    }
}
