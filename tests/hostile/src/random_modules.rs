//! Random modules by seed: made by `wasm-smith`, and tamed so that they come to be run.
//!
//! A random `raft3d_alloc` gives no room for the input, and a random answer lies nowhere: nearly
//! every module would end before its hook, or say nothing of what it did there. So most of them get
//! an allocation and a `check_config` that are sound, and their hooks are called through one that
//! allows for one half of what comes back, and makes of the other half a place inside memory: the
//! answer is then what the module left there.

use raft3d_fuzz::Random;
use raft3d_fuzz::smith::{self, Config};
use raft3d_sdk::{Hook, wire};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType,
    RawSection, ValType,
};
use wasmparser::{Parser, Payload};

/// Random bytes that a module is made of, at least.
const BYTES_MIN: usize = 512;
/// And at most.
const BYTES_MAX: usize = 24 * 1024;
/// Of so many modules one is left as it was made.
const WILD_ONE_IN: usize = 10;
/// Of so many modules one calls its hook until its gas is gone.
const HEAVY_ONE_IN: usize = 4;
/// What keeps an answer's place inside the first page: an address below 48 KiB, and at most 4,095
/// bytes from there on.
const PLACE_MASK: i64 = 0x0000_bfff_0000_0fff;
/// Where the sound allocation puts inputs.
const INPUT_AT: i32 = 1024;
/// Where the sound `check_config`, and a hook that allows, puts its answer, and what that is: an empty
/// map.
const GOOD: (i32, i32) = (16, 0xa0);

/// The module of that seed. `wasm-smith` makes something of nearly all bytes; the next ones are
/// tried where it does not.
///
/// # Panics
/// What was made does not parse.
#[must_use]
pub fn module(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    loop {
        let config = shape(&mut random);
        let len = BYTES_MIN + random.below(BYTES_MAX - BYTES_MIN);
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let (wild, heavy) = (random.below(WILD_ONE_IN), random.below(HEAVY_ONE_IN));
        let Some(module) = smith::module(config, &bytes) else {
            continue;
        };
        if wild == 0 {
            return module;
        }
        return Tamed::read(&module).encode(heavy == 0);
    }
}

/// Few large functions or many small ones; ones that check before they trap, or do not.
fn shape(random: &mut Random) -> Config {
    let mut pick = |of: [usize; 4]| of[random.below(of.len())];
    // With bulk memory come elements that are not in a table, which are refused.
    let (bulk_memory_enabled, max_element_segments) = match pick([0, 0, 1, 1]) {
        0 => (true, 0),
        _ => (false, 4),
    };
    let (max_funcs, max_instructions) = (pick([4, 16, 60, 200]), pick([50, 200, 1_000, 5_000]));
    Config {
        max_funcs,
        max_instructions,
        max_nesting_depth: pick([3, 10, 30, 100]),
        max_data_segments: pick([0, 1, 4, 40]),
        max_memory32_bytes: pick([1 << 16, 1 << 20, 4 << 20, 16 << 20]) as u64,
        min_funcs: 4,
        bulk_memory_enabled,
        max_element_segments,
        disallow_traps: pick([0, 0, 1, 1]) == 1,
        ..smith::config()
    }
}

/// A module taken apart.
struct Tamed<'a> {
    sections: Vec<(u8, &'a [u8])>,
    /// Type of each function.
    functions: Vec<u32>,
    bodies: Vec<&'a [u8]>,
    exports: Vec<(&'a str, ExportKind, u32)>,
    memory: Option<wasmparser::MemoryType>,
}

/// Ids of sections (WebAssembly 1.0, 5.5.2).
mod id {
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const EXPORT: u8 = 7;
    pub(super) const CODE: u8 = 10;
}

impl<'a> Tamed<'a> {
    fn read(module: &'a [u8]) -> Self {
        let mut tamed = Self {
            sections: Vec::new(),
            functions: Vec::new(),
            bodies: Vec::new(),
            exports: Vec::new(),
            memory: None,
        };
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.expect("a generated module parses");
            if let Some((id, range)) = payload.as_section() {
                tamed.sections.push((id, &module[range]));
            }
            match payload {
                Payload::FunctionSection(reader) => {
                    tamed.functions = reader.into_iter().map(|ty| ty.expect("a type")).collect();
                }
                Payload::MemorySection(reader) => {
                    tamed.memory = reader.into_iter().next().map(|ty| ty.expect("a memory"));
                }
                Payload::ExportSection(reader) => {
                    for export in reader {
                        let export = export.expect("an export");
                        let kind = match export.kind {
                            wasmparser::ExternalKind::Memory => ExportKind::Memory,
                            _ => ExportKind::Func,
                        };
                        tamed.exports.push((export.name, kind, export.index));
                    }
                }
                Payload::CodeSectionEntry(body) => tamed.bodies.push(&module[body.range()]),
                _ => {}
            }
        }
        tamed
    }

    /// The same module with a frame around it.
    fn encode(mut self, heavy: bool) -> Vec<u8> {
        let mut code = CodeSection::new();
        for body in &self.bodies {
            code.raw(body);
        }
        for (name, _, index) in self.exports.iter_mut() {
            let Some(body) = frame(name, *index, heavy) else {
                continue;
            };
            let ty = self.functions[*index as usize];
            *index = self.functions.len() as u32;
            self.functions.push(ty);
            code.function(&body);
        }
        let mut functions = FunctionSection::new();
        for ty in &self.functions {
            functions.function(*ty);
        }
        let mut exports = ExportSection::new();
        for (name, kind, index) in &self.exports {
            exports.export(name, *kind, *index);
        }
        let mut out = wasm_encoder::Module::new();
        for (id, data) in &self.sections {
            match *id {
                id::FUNCTION => out.section(&functions),
                id::MEMORY => out.section(&self.memory()),
                id::EXPORT => out.section(&exports),
                id::CODE => out.section(&code),
                id => out.section(&RawSection { id, data }),
            };
        }
        out.finish()
    }

    /// The memory, of one page at the least.
    fn memory(&self) -> MemorySection {
        let memory = self.memory.expect("a generated module has a memory");
        let mut section = MemorySection::new();
        section.memory(MemoryType {
            minimum: memory.initial.max(1),
            maximum: memory.maximum.map(|pages| pages.max(1)),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        section
    }
}

/// What stands in front of the export of that name; none where it stays what it is. `inner` is what
/// it was.
fn frame(name: &str, inner: u32, heavy: bool) -> Option<Function> {
    let mut body = Function::new([(1, ValType::I64)]);
    let mut code = body.instructions();
    let (at, byte) = GOOD;
    let good = wire::pack(at as u32, 1) as i64;
    let here = wasm_encoder::MemArg {
        offset: 0,
        align: 0,
        memory_index: 0,
    };
    if name == wire::ALLOC {
        code.i32_const(INPUT_AT).end();
    } else if name == wire::CHECK_CONFIG {
        code.i32_const(at).i32_const(byte).i32_store8(here);
        code.i64_const(good).end();
    } else if Hook::from_name(name).is_some() {
        if heavy {
            code.loop_(wasm_encoder::BlockType::Empty);
            code.local_get(0).local_get(1).call(inner).drop();
            code.br(0).end();
        }
        // What is odd allows; from everything else a place is made.
        code.local_get(0).local_get(1).call(inner).local_tee(2);
        code.i32_wrap_i64().i32_const(1).i32_and();
        code.if_(wasm_encoder::BlockType::Empty);
        code.i32_const(at).i32_const(byte).i32_store8(here);
        code.i64_const(good).return_().end();
        code.local_get(2).i64_const(PLACE_MASK).i64_and().end();
    } else {
        return None;
    }
    Some(body)
}
