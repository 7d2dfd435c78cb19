//! One function's body with its counters.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Function, Instruction, ValType};
use wasmparser::{FunctionBody, Operator};

use super::encode;
use crate::policy::gas;
use crate::policy::validate::ModuleProblem;

/// A charge of gas before the instruction at an offset.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    pub(super) offset: usize,
    pub(super) gas: u64,
}

/// Puts the analysis's points together: one charge for each run without a branch.
pub(super) fn charges(
    body: &FunctionBody<'_>,
    locals: u64,
    points: Vec<Charge>,
) -> Result<Vec<Charge>, ModuleProblem> {
    let mut operators = body
        .get_operators_reader()
        .map_err(ModuleProblem::malformed)?;
    let start = operators.original_position();
    let mut charges = vec![Charge {
        offset: start,
        gas: gas::entry_fee(locals),
    }];
    let mut run_is_open = true;
    let mut points = points.into_iter().peekable();
    while !operators.eof() {
        let (op, offset) = operators
            .read_with_offset()
            .map_err(ModuleProblem::malformed)?;
        while let Some(point) = points.next_if(|point| point.offset <= offset) {
            match charges.last_mut() {
                Some(run) if run_is_open => run.gas += point.gas,
                _ => charges.push(Charge {
                    offset,
                    gas: point.gas,
                }),
            }
            run_is_open = true;
        }
        run_is_open &= !ends_run(&op);
    }
    Ok(charges)
}

/// Whether what follows `op` may run more or less often than what stands before it.
fn ends_run(op: &Operator<'_>) -> bool {
    matches!(
        op,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
    )
}

pub(super) struct Plan {
    /// Locals that the function declares.
    pub(super) locals: u32,
    /// Logical bytes of its frame.
    pub(super) frame: i32,
    pub(super) charges: Vec<Charge>,
}

/// Writes one body.
pub(super) struct Body<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) gas_global: u32,
    pub(super) stack_global: u32,
    /// An `i32` of ours, where the body has an instruction that is charged by its operand.
    pub(super) scratch_local: u32,
    pub(super) plan: Plan,
    pub(super) output: Function,
}

impl Body<'_> {
    pub(super) fn write(
        mut self,
        body: &FunctionBody<'_>,
        block: BlockType,
        reencoder: &mut RoundtripReencoder,
    ) -> Result<Function, ModuleProblem> {
        self.output = self.new_function(body, reencoder)?;
        self.enter();
        // A branch to the function's own label lands at the end of this block, where the frame
        // is given back.
        self.emit(&Instruction::Block(block));
        let charges = std::mem::take(&mut self.plan.charges);
        let mut charges = charges.into_iter().peekable();
        let mut operators = body
            .get_operators_reader()
            .map_err(ModuleProblem::malformed)?;
        while !operators.eof() {
            let (op, offset) = operators
                .read_with_offset()
                .map_err(ModuleProblem::malformed)?;
            let end = operators.original_position();
            while let Some(charge) = charges.next_if(|charge| charge.offset <= offset) {
                self.charge(charge.gas);
            }
            if let Some(each) = per_operand(&op) {
                self.charge_operand(each);
            }
            match op {
                Operator::Return => {
                    self.leave();
                    self.emit(&Instruction::Return);
                }
                Operator::End if operators.eof() => {
                    self.emit(&Instruction::End);
                    self.leave();
                    self.emit(&Instruction::End);
                }
                // Written anew, so that its indices are as short as they can be.
                Operator::CallIndirect { .. } => {
                    let call = reencoder.instruction(op).map_err(|e| encode(&e))?;
                    self.emit(&call);
                }
                _ => {
                    let same = self.bytes.get(offset..end).unwrap_or_default();
                    self.output.raw(same.iter().copied());
                }
            }
        }
        Ok(self.output)
    }

    fn new_function(
        &self,
        body: &FunctionBody<'_>,
        reencoder: &mut RoundtripReencoder,
    ) -> Result<Function, ModuleProblem> {
        let mut locals = Vec::new();
        for declared in body.get_locals_reader().map_err(ModuleProblem::malformed)? {
            let (count, ty) = declared.map_err(ModuleProblem::malformed)?;
            locals.push((count, reencoder.val_type(ty).map_err(|e| encode(&e))?));
        }
        let mut operators = body
            .get_operators_reader()
            .map_err(ModuleProblem::malformed)?;
        while !operators.eof() {
            let op = operators.read().map_err(ModuleProblem::malformed)?;
            if per_operand(&op).is_some() {
                locals.push((1, ValType::I32));
                break;
            }
        }
        Ok(Function::new(locals))
    }

    fn emit(&mut self, instruction: &Instruction<'_>) {
        self.output.instruction(instruction);
    }

    /// Takes the frame from the stack that is left.
    fn enter(&mut self) {
        let stack = self.stack_global;
        self.emit(&Instruction::GlobalGet(stack));
        self.emit(&Instruction::I32Const(self.plan.frame));
        self.emit(&Instruction::I32Sub);
        self.emit(&Instruction::GlobalSet(stack));
        self.emit(&Instruction::GlobalGet(stack));
        self.emit(&Instruction::I32Const(0));
        self.emit(&Instruction::I32LtS);
        self.trap_if();
    }

    /// Gives the frame back.
    fn leave(&mut self) {
        let stack = self.stack_global;
        self.emit(&Instruction::GlobalGet(stack));
        self.emit(&Instruction::I32Const(self.plan.frame));
        self.emit(&Instruction::I32Add);
        self.emit(&Instruction::GlobalSet(stack));
    }

    fn charge(&mut self, gas: u64) {
        self.emit(&Instruction::GlobalGet(self.gas_global));
        // A run costs at most 32 KiB of instructions times the highest price.
        self.emit(&Instruction::I64Const(gas as i64));
        self.pay();
    }

    /// Charges `each` for every unit of the `i32` on top of the stack, which stays there.
    fn charge_operand(&mut self, each: u64) {
        self.emit(&Instruction::LocalTee(self.scratch_local));
        self.emit(&Instruction::GlobalGet(self.gas_global));
        self.emit(&Instruction::LocalGet(self.scratch_local));
        self.emit(&Instruction::I64ExtendI32U);
        // At most 2^32 units: the product is far below `i64::MAX`.
        self.emit(&Instruction::I64Const(each as i64));
        self.emit(&Instruction::I64Mul);
        self.pay();
    }

    /// With the counter and an amount on the stack: subtracts, stores, and traps below zero.
    fn pay(&mut self) {
        self.emit(&Instruction::I64Sub);
        self.emit(&Instruction::GlobalSet(self.gas_global));
        self.emit(&Instruction::GlobalGet(self.gas_global));
        self.emit(&Instruction::I64Const(0));
        self.emit(&Instruction::I64LtS);
        self.trap_if();
    }

    fn trap_if(&mut self) {
        self.emit(&Instruction::If(BlockType::Empty));
        self.emit(&Instruction::Unreachable);
        self.emit(&Instruction::End);
    }
}

/// Gas for each unit of an instruction's last operand.
fn per_operand(op: &Operator<'_>) -> Option<u64> {
    match op {
        Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
            Some(gas::PER_BULK_BYTE)
        }
        Operator::MemoryGrow { .. } => Some(gas::PER_PAGE),
        _ => None,
    }
}
