//! The check of one function's body: size, locals, nesting, and the instructions themselves.

use wasmparser::{BlockType, FunctionBody, Operator};

use super::sections::value_type;
use super::{Meter, ModuleProblem};
use crate::policy::{gas, limits};

/// Checks the body of function `index` (there are no imports, so it is its index everywhere).
/// `locals_all` is the running sum over all functions.
pub(super) fn body(
    index: u32,
    body: &FunctionBody<'_>,
    locals_all: &mut u64,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    let place = || format!("function {index}");
    meter.note(limits::FUNCTIONS, u64::from(index) + 1, place)?;
    meter.note(limits::BODY_BYTES, body.range().len() as u64, place)?;
    let mut locals = 0_u64;
    for declared in body.get_locals_reader().map_err(ModuleProblem::malformed)? {
        let (count, ty) = declared.map_err(ModuleProblem::malformed)?;
        value_type(ty, place)?;
        locals += u64::from(count);
        meter.note(limits::LOCALS, locals, place)?;
    }
    *locals_all += locals;
    meter.note(limits::LOCALS_ALL, *locals_all, place)?;
    instructions(index, body, meter)
}

fn instructions(
    index: u32,
    body: &FunctionBody<'_>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    let mut depth = 0_u64;
    let mut deepest = 0_u64;
    let mut operators = body
        .get_operators_reader()
        .map_err(ModuleProblem::malformed)?;
    while !operators.eof() {
        let (op, offset) = operators
            .read_with_offset()
            .map_err(ModuleProblem::malformed)?;
        let place = || format!("function {index}, offset {offset:#x}");
        if !gas::is_allowed(&op) {
            return Err(not_allowed(&op, place()));
        }
        match &op {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                if let BlockType::Type(ty) = blockty {
                    value_type(*ty, place)?;
                }
                depth += 1;
                deepest = deepest.max(depth);
                if deepest > limits::NESTING.max {
                    meter.note(limits::NESTING, deepest, place)?;
                }
            }
            Operator::End => depth = depth.saturating_sub(1),
            Operator::BrTable { targets } => {
                meter.note(limits::BR_TABLE, u64::from(targets.len()), place)?;
            }
            _ => {}
        }
    }
    meter.note(limits::NESTING, deepest, || format!("function {index}"))
}

fn not_allowed(op: &Operator<'_>, place: String) -> ModuleProblem {
    // `Debug` of an operator starts with its name.
    let text = format!("{op:?}");
    let name = text.split([' ', '{']).next().unwrap_or_default();
    let float = ["F32", "F64"].iter().any(|ty| name.contains(ty));
    if float {
        ModuleProblem::at(
            "float_instruction",
            place,
            &format!("{name} works on floats, which are not allowed"),
        )
    } else {
        ModuleProblem::at(
            "instruction_not_allowed",
            place,
            &format!("{name} is not among the instructions that policies may use"),
        )
    }
}
