//! What an instruction costs, and how much stack a frame takes. Part of the engine epoch.
//!
//! One gas is about one simple machine instruction; the prices follow the worst case of what the
//! instruction can be made to do, so that a budget of a million gas ends within ten milliseconds
//! (`cargo xtask bench gas` measures the worst that is known of). The same list is the allow-list: an
//! instruction without a price is refused.

use finite_wasm::{Fee, max_stack::SizeConfig, prefix_sum_vec::PrefixSumVec};
use wasmparser::{Operator, ValType, VisitOperator, VisitSimdOperator};

/// Version of this table. Golden verdicts record it, and compiled code is cached under it.
pub const GAS_TABLE_VERSION: u32 = 2;

/// Gas for each byte of `memory.copy`, `memory.fill` and `memory.init`.
pub const PER_BULK_BYTE: u64 = 1;
/// Gas for each page that an instance starts with, and for each that `memory.grow` asks for, granted
/// or not: the processor finds it page by page when it is first touched.
pub const PER_PAGE: u64 = 1_000;
/// Gas of a load or a store in a small memory ([`SMALL_MEMORY_PAGES`]).
pub const ACCESS: u64 = 2;
/// Gas of a load or a store in a larger one, which may have to wait for a slower cache each time.
pub const ACCESS_FAR: u64 = 5;
/// Pages that a memory may grow to and still be called small: half of a second-level cache.
pub const SMALL_MEMORY_PAGES: u64 = 4;
/// Gas for entering a function, beside the call itself.
pub const PER_ENTRY: u64 = 2;
/// Locals that are zeroed for one gas when a function is entered.
pub const LOCALS_PER_GAS: u64 = 4;

/// Logical bytes of one value on the operand stack or in a local.
const VALUE_BYTES: u8 = 8;
/// Logical bytes of a frame before its values.
const FRAME_BYTES: u64 = 64;
/// Bytes of a body that count for one logical byte of its frame.
///
/// A compiler may keep more values alive than the function has locals and operands (common
/// subexpressions, hoisted invariants), but each of them takes some six bytes of code. With the
/// factor of 16 between logical and native stack this covers them.
/// Invariant: the counter runs over before the native stack does; guarded by the test
/// `policy_hostile::wide_frames_overflow_the_counter_first`.
const BODY_BYTES_PER_BYTE: u64 = 8;

/// Gas of a load or a store in a memory that may grow to `pages_max` pages.
#[must_use]
pub const fn access(pages_max: u64) -> u64 {
    if pages_max <= SMALL_MEMORY_PAGES {
        ACCESS
    } else {
        ACCESS_FAR
    }
}

/// Whether a module may have `op` at all.
#[must_use]
pub fn is_allowed(op: &Operator<'_>) -> bool {
    price(op, ACCESS).is_some()
}

/// Gas of `op`, without what depends on its operands; none where it is not allowed at all. A load or
/// a store costs `access`.
#[must_use]
pub fn price(op: &Operator<'_>, access: u64) -> Option<u64> {
    use Operator as O;
    Some(match op {
        // What they end or divide is paid for where it begins.
        O::Else | O::End => 0,
        O::Block { .. }
        | O::Nop
        | O::Unreachable
        | O::Loop { .. }
        | O::If { .. }
        | O::Br { .. }
        | O::BrIf { .. }
        | O::Return
        | O::Drop
        | O::Select
        | O::LocalGet { .. }
        | O::LocalSet { .. }
        | O::LocalTee { .. }
        | O::GlobalGet { .. }
        | O::GlobalSet { .. }
        | O::MemorySize { .. }
        | O::I32Const { .. }
        | O::I64Const { .. } => 1,
        O::BrTable { .. } => 3,
        O::Call { .. } => 5,
        O::CallIndirect { .. } => 10,
        O::MemoryGrow { .. } => 100,
        O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } => 20,
        O::DataDrop { .. } => 10,
        _ if is_access(op) => access,
        _ => return integer(op),
    })
}

fn is_access(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::I32Load { .. }
            | O::I64Load { .. }
            | O::I32Load8S { .. }
            | O::I32Load8U { .. }
            | O::I32Load16S { .. }
            | O::I32Load16U { .. }
            | O::I64Load8S { .. }
            | O::I64Load8U { .. }
            | O::I64Load16S { .. }
            | O::I64Load16U { .. }
            | O::I64Load32S { .. }
            | O::I64Load32U { .. }
            | O::I32Store { .. }
            | O::I64Store { .. }
            | O::I32Store8 { .. }
            | O::I32Store16 { .. }
            | O::I64Store8 { .. }
            | O::I64Store16 { .. }
            | O::I64Store32 { .. }
    )
}

fn integer(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::I32Eqz
        | O::I32Eq
        | O::I32Ne
        | O::I32LtS
        | O::I32LtU
        | O::I32GtS
        | O::I32GtU
        | O::I32LeS
        | O::I32LeU
        | O::I32GeS
        | O::I32GeU
        | O::I64Eqz
        | O::I64Eq
        | O::I64Ne
        | O::I64LtS
        | O::I64LtU
        | O::I64GtS
        | O::I64GtU
        | O::I64LeS
        | O::I64LeU
        | O::I64GeS
        | O::I64GeU
        | O::I32Clz
        | O::I32Ctz
        | O::I32Add
        | O::I32Sub
        | O::I32And
        | O::I32Or
        | O::I32Xor
        | O::I32Shl
        | O::I32ShrS
        | O::I32ShrU
        | O::I32Rotl
        | O::I32Rotr
        | O::I64Clz
        | O::I64Ctz
        | O::I64Add
        | O::I64Sub
        | O::I64And
        | O::I64Or
        | O::I64Xor
        | O::I64Shl
        | O::I64ShrS
        | O::I64ShrU
        | O::I64Rotl
        | O::I64Rotr
        | O::I32WrapI64
        | O::I64ExtendI32S
        | O::I64ExtendI32U
        | O::I32Extend8S
        | O::I32Extend16S
        | O::I64Extend8S
        | O::I64Extend16S
        | O::I64Extend32S => 1,
        // Without the instruction of their own that most processors have, these take a dozen.
        O::I32Popcnt | O::I64Popcnt => 5,
        O::I32Mul | O::I64Mul => 2,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => 10,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => 20,
        _ => return None,
    })
}

/// Gas for entering a function with `locals` locals of its own, which are zeroed.
#[must_use]
pub const fn entry_fee(locals: u64) -> u64 {
    PER_ENTRY + locals.div_ceil(LOCALS_PER_GAS)
}

/// Logical bytes of a frame: `values` as [`FrameSizes`] counts them, and the body's own share.
#[must_use]
pub const fn frame_bytes(values: u64, body_bytes: u64) -> u64 {
    FRAME_BYTES + values + body_bytes / BODY_BYTES_PER_BYTE
}

/// The prices, as `finite-wasm` asks for them.
///
/// Instructions without a price never get here: the static check refused the module.
pub(crate) struct Prices {
    /// Gas of a load or a store.
    pub(crate) access: u64,
}

macro_rules! prices {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })?
        => $visit:ident ($($ann:tt)*))*) => {
        $(fn $visit(&mut self $($(,$arg: $argty)*)?) -> Fee {
            let op = Operator::$op $({ $($arg),* })?;
            Fee::constant(price(&op, self.access).unwrap_or(1))
        })*
    };
}

impl<'a> VisitOperator<'a> for Prices {
    type Output = Fee;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Fee>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(prices);
}

impl<'a> VisitSimdOperator<'a> for Prices {
    wasmparser::for_each_visit_simd_operator!(prices);
}

/// How many logical bytes the values of a frame take, as `finite-wasm` asks for them.
pub(crate) struct FrameSizes;

impl SizeConfig for FrameSizes {
    fn size_of_value(&self, _: ValType) -> u8 {
        VALUE_BYTES
    }

    fn size_of_function_activation(&self, locals: &PrefixSumVec<ValType, u32>) -> u64 {
        let count = locals.max_index().map_or(0, |last| u64::from(*last) + 1);
        count * u64::from(VALUE_BYTES)
    }
}
