//! The engines that are compared are really different ones.

use raft3d_engine::policy::{CompileLimits, Compiler, EngineSettings, InProcessCompiler};
use raft3d_hostile::engines::{COMPILED, INTERPRETED, SHIPPED, Setting};
use raft3d_hostile::guest::Guest;

/// Where an ELF file says what machine it is for (`e_machine`, ELF-64 Object File Format, 4).
const E_MACHINE_AT: usize = 18;

fn code((name, settings): Setting) -> Vec<u8> {
    let module = Guest::default().bytes("plain");
    let compiler = InProcessCompiler::new(settings);
    let code = compiler.compile(&module, CompileLimits::UPLOAD);
    code.unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn nodes_run_what_is_called_shipped() {
    let shipped = EngineSettings {
        slots: SHIPPED.1.slots,
        ..EngineSettings::default()
    };
    assert_eq!(SHIPPED.1, shipped);
}

#[test]
fn the_interpreter_gets_code_of_its_own_and_the_compiler_another_for_each_level() {
    let [shipped, plain, interpreted] = [SHIPPED, COMPILED[2], INTERPRETED].map(code);
    let machine = |code: &[u8]| code[E_MACHINE_AT..E_MACHINE_AT + 2].to_vec();
    // wasmtime writes that of a processor which it does not compile for.
    assert_ne!(machine(&interpreted), machine(&shipped));
    assert_eq!(machine(&shipped), machine(&plain));
    assert_ne!(shipped, plain);
}
