//! The walk over a module's sections: counts, sizes, types.

use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, Operator, Parser, Payload,
    RefType, SectionLimited, ValType,
};

use super::{Meter, ModuleProblem, code};
use crate::policy::limits;

/// What the later checks need to know of a module.
#[derive(Default)]
pub(super) struct Module<'a> {
    /// Parameters and results of each function type.
    pub(super) types: Vec<(Vec<ValType>, Vec<ValType>)>,
    /// Type index of each function.
    pub(super) functions: Vec<u32>,
    /// Exports: name, kind and index.
    pub(super) exports: Vec<(&'a str, ExternalKind, u32)>,
    /// The manifest sections found.
    pub(super) manifest: Vec<&'a [u8]>,
    /// Initial pages of the memory, if there is one.
    memory_pages: Option<u64>,
    table_elements: u64,
    element_items: u64,
    locals: u64,
    bodies: u32,
}

/// Walks over every section and checks what can be told without a type checker.
pub(super) fn walk<'a>(bytes: &'a [u8], meter: &mut Meter) -> Result<Module<'a>, ModuleProblem> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        section(
            &mut module,
            payload.map_err(ModuleProblem::malformed)?,
            meter,
        )?;
    }
    if module.memory_pages.is_none() {
        return Err(ModuleProblem::new(
            "no_memory",
            "the module defines no memory",
        ));
    }
    Ok(module)
}

fn section<'a>(
    module: &mut Module<'a>,
    payload: Payload<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    match payload {
        Payload::TypeSection(reader) => types(module, reader, meter),
        Payload::ImportSection(reader) => no_imports(reader),
        Payload::FunctionSection(reader) => {
            count(meter, limits::FUNCTIONS, &reader)?;
            module.functions.extend(collect(reader)?);
            Ok(())
        }
        Payload::TableSection(reader) => tables(module, reader, meter),
        Payload::MemorySection(reader) => memories(module, reader, meter),
        Payload::GlobalSection(reader) => globals(reader, meter),
        Payload::ExportSection(reader) => {
            count(meter, limits::EXPORTS, &reader)?;
            for export in collect(reader)? {
                module
                    .exports
                    .push((export.name, export.kind, export.index));
            }
            Ok(())
        }
        Payload::StartSection { range, .. } => Err(ModuleProblem::at(
            "start_function",
            at(range.start),
            "a start function would run without a budget, and is not allowed",
        )),
        Payload::ElementSection(reader) => elements(module, reader, meter),
        Payload::DataSection(reader) => data(module, reader, meter),
        Payload::CodeSectionEntry(body) => {
            let index = module.bodies;
            module.bodies += 1;
            code::body(index, &body, &mut module.locals, meter)
        }
        Payload::CustomSection(reader) => {
            if reader.name() == raft3d_sdk::manifest::SECTION {
                module.manifest.push(reader.data());
            }
            Ok(())
        }
        Payload::TagSection(reader) => Err(ModuleProblem::at(
            "feature_not_allowed",
            at(reader.range().start),
            "exceptions are not allowed",
        )),
        Payload::Version { .. }
        | Payload::DataCountSection { .. }
        | Payload::CodeSectionStart { .. }
        | Payload::End(_) => Ok(()),
        _ => Err(ModuleProblem::new(
            "feature_not_allowed",
            "an unknown section is not allowed",
        )),
    }
}

fn at(offset: usize) -> String {
    format!("offset {offset:#x}")
}

/// Reads a whole section; a reader is lazy, so a count that lies costs nothing before this.
fn collect<'a, T: wasmparser::FromReader<'a>>(
    reader: SectionLimited<'a, T>,
) -> Result<Vec<T>, ModuleProblem> {
    reader
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(ModuleProblem::malformed)
}

fn count<T>(
    meter: &mut Meter,
    limit: limits::Limit,
    reader: &SectionLimited<'_, T>,
) -> Result<(), ModuleProblem> {
    meter.note(limit, u64::from(reader.count()), || {
        at(reader.range().start)
    })
}

fn types<'a>(
    module: &mut Module<'a>,
    reader: wasmparser::TypeSectionReader<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    count(meter, limits::TYPES, &reader)?;
    for (index, ty) in reader.into_iter_err_on_gc_types().enumerate() {
        let ty = ty.map_err(ModuleProblem::malformed)?;
        let place = || format!("type {index}");
        meter.note(limits::PARAMS, ty.params().len() as u64, place)?;
        meter.note(limits::RESULTS, ty.results().len() as u64, place)?;
        for value in ty.params().iter().chain(ty.results()) {
            value_type(*value, place)?;
        }
        module
            .types
            .push((ty.params().to_vec(), ty.results().to_vec()));
    }
    Ok(())
}

/// Only the two integer types are allowed.
pub(super) fn value_type(ty: ValType, place: impl FnOnce() -> String) -> Result<(), ModuleProblem> {
    match ty {
        ValType::I32 | ValType::I64 => Ok(()),
        ValType::F32 | ValType::F64 => Err(ModuleProblem::at(
            "float_type",
            place(),
            "floats are not allowed; weights are whole milligrams and factors are per mille",
        )),
        ValType::V128 | ValType::Ref(_) => Err(ModuleProblem::at(
            "type_not_allowed",
            place(),
            "only the value types i32 and i64 are allowed",
        )),
    }
}

fn no_imports(reader: wasmparser::ImportSectionReader<'_>) -> Result<(), ModuleProblem> {
    match collect(reader)?.first() {
        None => Ok(()),
        Some(import) => Err(ModuleProblem::at(
            "imports",
            format!("import {}.{}", shown(import.module), shown(import.name)),
            "a policy sees its input and nothing else; imports are not allowed",
        )),
    }
}

/// A guest's text, short enough and plain enough for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}

fn tables<'a>(
    module: &mut Module<'a>,
    reader: wasmparser::TableSectionReader<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    count(meter, limits::TABLES, &reader)?;
    for table in collect(reader)? {
        let place = || "table 0".to_owned();
        if table.ty.element_type != RefType::FUNCREF || table.ty.table64 || table.ty.shared {
            return Err(ModuleProblem::at(
                "type_not_allowed",
                place(),
                "only a plain table of functions is allowed",
            ));
        }
        meter.note(limits::TABLE_ELEMENTS, table.ty.initial, place)?;
        module.table_elements = table.ty.initial;
    }
    Ok(())
}

fn memories<'a>(
    module: &mut Module<'a>,
    reader: wasmparser::MemorySectionReader<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    for (index, memory) in collect(reader)?.into_iter().enumerate() {
        let place = || format!("memory {index}");
        if index > 0 || memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return Err(ModuleProblem::at(
                "feature_not_allowed",
                place(),
                "one plain 32-bit memory is allowed",
            ));
        }
        let bytes = memory.initial.saturating_mul(limits::PAGE_BYTES);
        meter.note(limits::MEMORY_BYTES, bytes, place)?;
        module.memory_pages = Some(memory.initial);
    }
    Ok(())
}

fn globals(
    reader: wasmparser::GlobalSectionReader<'_>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    count(meter, limits::GLOBALS, &reader)?;
    for (index, global) in collect(reader)?.into_iter().enumerate() {
        value_type(global.ty.content_type, || format!("global {index}"))?;
        constant(&global.init_expr, || format!("global {index}"))?;
    }
    Ok(())
}

/// The value of a constant expression: one `i32.const` or `i64.const` and nothing else.
fn constant(expr: &ConstExpr<'_>, place: impl FnOnce() -> String) -> Result<i64, ModuleProblem> {
    let mut operators = expr.get_operators_reader();
    let first = operators.read().map_err(ModuleProblem::malformed)?;
    let last = operators.read().map_err(ModuleProblem::malformed)?;
    match (first, last) {
        (Operator::I32Const { value }, Operator::End) => Ok(i64::from(value)),
        (Operator::I64Const { value }, Operator::End) => Ok(value),
        (Operator::F32Const { .. } | Operator::F64Const { .. }, _) => Err(ModuleProblem::at(
            "float_constant",
            place(),
            "floats are not allowed",
        )),
        _ => Err(ModuleProblem::at(
            "constant_expression",
            place(),
            "only a plain integer constant is allowed here",
        )),
    }
}

/// Where an active segment starts. It must fit what the module starts with, so that making an instance of it can
/// only fail for want of something local.
fn fits(
    offset: i64,
    len: u64,
    room: u64,
    place: impl FnOnce() -> String,
) -> Result<u64, ModuleProblem> {
    // Offsets are unsigned 32-bit numbers, written as signed ones.
    let start = (offset as u64) & u64::from(u32::MAX);
    if start.checked_add(len).is_some_and(|end| end <= room) {
        return Ok(start);
    }
    Err(ModuleProblem::at(
        "segment_out_of_bounds",
        place(),
        &format!("{len} from {start} on do not fit into {room}"),
    ))
}

fn elements<'a>(
    module: &mut Module<'a>,
    reader: wasmparser::ElementSectionReader<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    count(meter, limits::ELEMENT_SEGMENTS, &reader)?;
    for (index, element) in collect(reader)?.into_iter().enumerate() {
        let place = || format!("element segment {index}");
        let (ElementKind::Active { offset_expr, .. }, ElementItems::Functions(items)) =
            (element.kind, element.items)
        else {
            return Err(ModuleProblem::at(
                "feature_not_allowed",
                place(),
                "only active segments of function indices are allowed",
            ));
        };
        let len = u64::from(items.count());
        module.element_items += len;
        meter.note(limits::ELEMENT_ITEMS, module.element_items, place)?;
        let offset = constant(&offset_expr, place)?;
        fits(offset, len, module.table_elements, place)?;
    }
    Ok(())
}

fn data<'a>(
    module: &mut Module<'a>,
    reader: wasmparser::DataSectionReader<'a>,
    meter: &mut Meter,
) -> Result<(), ModuleProblem> {
    count(meter, limits::DATA_SEGMENTS, &reader)?;
    let room = module
        .memory_pages
        .unwrap_or(0)
        .saturating_mul(limits::PAGE_BYTES);
    let mut span: Option<(u64, u64)> = None;
    for (index, segment) in collect(reader)?.into_iter().enumerate() {
        let place = || format!("data segment {index}");
        if let DataKind::Active { offset_expr, .. } = segment.kind {
            let offset = constant(&offset_expr, place)?;
            let len = segment.data.len() as u64;
            let start = fits(offset, len, room, place)?;
            if len > 0 {
                let (first, end) = span.unwrap_or((start, start));
                let (first, end) = (first.min(start), end.max(start + len));
                meter.note(limits::DATA_SPAN, end - first, place)?;
                span = Some((first, end));
            }
        }
    }
    Ok(())
}
