//! Cost attacks: each repeats what is dear for its gas until the budget is used up.
//!
//! Bodies are unrolled, so that what is attacked is most of what is paid for.

use std::fmt::Write as _;

use super::attack::{Attack, Chain};

/// Pages of the largest memory that a module may have.
const PAGES: usize = 32;
/// Bytes of a page.
const PAGE: usize = 65_536;
/// Bytes of a page of the processor.
const SMALL_PAGE: usize = 4_096;
/// Bytes of a cache line.
const LINE: usize = 64;

/// All of them.
pub(super) fn attacks() -> Vec<Attack> {
    let parts = [
        arithmetic(),
        chases(),
        accesses(),
        bulk(),
        calls(),
        branches(),
        rest(),
    ];
    parts.into_iter().flatten().collect()
}

/// Integer instructions, each waiting for the one before. What they begin with is loaded, and what
/// they end with is stored: a compiler that knows a value, or needs none, would leave them out.
fn arithmetic() -> Vec<Attack> {
    let mixed = |op: &str| Chain::i64(op, &format!("(i64.{op} (local.get $x) (local.get $y))"));
    let unary = |op: &str| Chain::i64(op, &format!("(i64.{op} (local.get $x))"));
    // The dividend stays large, because the quotient is mixed with it again.
    let division = |ty, op: &str, start, by| {
        let term = format!("({ty}.{op} (local.get $x) (local.get $y))");
        Chain::of(ty, op, &term, [start, by, start])
    };
    let (large32, large64) = (0x7fff_ffff, 0x7fff_ffff_ffff_ffff);
    vec![
        mixed("add"),
        mixed("sub"),
        mixed("mul"),
        mixed("and"),
        mixed("rotl"),
        mixed("rotr"),
        mixed("shl"),
        mixed("shr_s"),
        mixed("shr_u"),
        unary("popcnt"),
        unary("clz"),
        unary("ctz"),
        unary("extend8_s"),
        unary("extend32_s"),
        Chain::i64(
            "eqz",
            "(i64.extend_i32_u (i64.eqz (i64.sub (local.get $x) (local.get $y))))",
        ),
        Chain::i64(
            "lt_s",
            "(i64.extend_i32_u (i64.lt_s (local.get $x) (local.get $y)))",
        ),
        Chain::of(
            "i32",
            "mul",
            "(i32.mul (local.get $x) (local.get $y))",
            [3, 0x1234_5677, 5],
        ),
        division("i32", "div_u", large32, 3),
        division("i32", "div_s", large32, 3),
        division("i32", "rem_u", large32, 0x1_0001),
        division("i32", "rem_s", large32, 0x1_0001),
        division("i64", "div_u", large64, 3),
        division("i64", "div_s", large64, 3),
        division("i64", "rem_u", large64, 0x1_0000_0001),
        division("i64", "rem_s", large64, 0x1_0000_0001),
    ]
}

/// Pointers that are followed, one load waiting for the other.
fn chases() -> Vec<Attack> {
    let follow = "(local.set $p (i32.load (local.get $p)))";
    let chase = |name: &str| Attack::repeat(name, "(local $p i32)", follow);
    // Lays pointers out at `stride` over all pages, the last one back to the first.
    let laid_out = |stride: usize| {
        let end = PAGES * PAGE / stride * stride;
        let setup = format!(
            "(loop $lay (i32.store (local.get $p) (i32.add (local.get $p) (i32.const {stride})))
               (local.set $p (i32.add (local.get $p) (i32.const {stride})))
               (br_if $lay (i32.lt_u (local.get $p) (i32.const {last}))))
             (i32.store (local.get $p) (i32.const 0)) (local.set $p (i32.const 0))",
            last = end - stride
        );
        let name = format!("chase over 2 MiB, stride {stride}");
        Attack::after(&name, "(local $p i32)", &setup, follow).pages(PAGES)
    };
    // No more than the loads is paid for.
    let nested = |attack: Attack, setup: &str| {
        let chain = format!(
            "(local.set $p {}(local.get $p){})",
            "(i32.load ".repeat(400),
            ")".repeat(400)
        );
        let name = format!("{}, in one expression", attack.name);
        Attack::after(&name, "(local $p i32)", setup, &chain).pages(PAGES)
    };
    // Every fourth line of 2 MiB, in the order of a generator with a full period.
    let shuffled = "(loop $lay
          (i32.store (i32.shl (local.get $p) (i32.const 8))
            (i32.shl (i32.and (i32.add (i32.mul (local.get $p) (i32.const 3877)) (i32.const 29))
              (i32.const 8191)) (i32.const 8)))
          (local.set $p (i32.add (local.get $p) (i32.const 1)))
          (br_if $lay (i32.lt_u (local.get $p) (i32.const 8192))))
        (local.set $p (i32.const 0))";
    let at_random = Attack::after(
        "chase over 2 MiB, each fourth line, at random",
        "(local $p i32)",
        shuffled,
        follow,
    );
    vec![
        nested(
            chase("chase over 2 MiB, each fourth line, at random"),
            shuffled,
        ),
        at_random.pages(PAGES),
        chase("chase of one word"),
        chase("chase of one word, where loads cost 2").memory("1 1"),
        chase("chase over 480 KiB, each line once, at random")
            .pages(8)
            .data(ring(7_680, LINE)),
        chase("chase over 256 KiB, each line once, at random, where loads cost 2")
            .memory("4 4")
            .data(ring(4_090, LINE)),
        // In every small page one line, another one in each.
        scattered(),
        laid_out(SMALL_PAGE),
        laid_out(SMALL_PAGE + LINE),
        laid_out(2 * SMALL_PAGE + LINE),
        laid_out(1_024 + LINE),
        laid_out(256),
    ]
}

/// A chase through all small pages of 2 MiB, over and over, each time another line of them: the
/// next page follows from the number of the step, so that nothing can be fetched ahead.
fn scattered() -> Attack {
    // x := (5 x + 1 + memory[x]) mod 2^21, memory being zero: a full period over all bytes.
    let unit = "(local.set $p (i32.and (i32.const 0x1fffc0)
        (i32.add (i32.mul (local.get $p) (i32.const 0x9e3779b1))
          (i32.add (i32.const 0x3c6ef3c0) (i32.load (local.get $p))))))";
    Attack::repeat("loads of 2 MiB at random", "(local $p i32)", unit).pages(PAGES)
}

/// A ring of `count` pointers, `stride` bytes apart, in an order that no prefetcher follows.
fn ring(count: usize, stride: usize) -> Vec<u8> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut seed = 1_u64;
    for at in (1..count).rev() {
        // A linear congruential generator (Knuth's MMIX) is random enough here.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (seed >> 33) as usize % (at + 1));
    }
    let mut data = vec![0; (count - 1) * stride + 4];
    let next = order.iter().cycle().skip(1);
    for (from, to) in order.iter().zip(next) {
        let place = (to * stride) as u32;
        let from = from * stride;
        if let Some(word) = data.get_mut(from..from + 4) {
            word.copy_from_slice(&place.to_le_bytes());
        }
    }
    data
}

/// Loads and stores of each width, over all pages.
fn accesses() -> Vec<Attack> {
    let step = |stride: usize| {
        format!(
            "(local.set $p (i32.and (i32.add (local.get $p) (i32.const {stride})) \
             (i32.const 0x1ffff7)))"
        )
    };
    let locals = "(local $p i32) (local $x i64)";
    let over_all = |name: &str, stride: usize, access: &str| {
        let unit = format!("{access} {}", step(stride));
        Attack::repeat(name, locals, &unit).pages(PAGES)
    };
    // Each of another place, and all of them needed: two loads of one place are compiled as one.
    let load = |ty: &str, op: &str| {
        let places = (0..1_000).map(|n| 64 + n * 8);
        let sum = places.map(|at| {
            format!("(local.set $x ({ty}.add (local.get $x) ({ty}.{op} (i32.const {at}))))")
        });
        Chain::steps(&format!("{ty}.{op}"), ty, &sum.collect::<String>(), [0; 3])
    };
    let store = |ty: &str, op: &str| {
        let unit = format!("({ty}.{op} offset=60 (i32.const 0) ({ty}.const -1))");
        Attack::repeat(&format!("{ty}.{op}"), "", &unit)
    };
    let stride = SMALL_PAGE + LINE;
    let sum = "(local.set $x (i64.add (local.get $x) (i64.load (local.get $p))))";
    // Each address of these is a constant: nothing but the access is paid for.
    let fixed = |name: &str, access: &str, stride: usize| {
        let mut unit = String::new();
        for at in (0..PAGES * PAGE - 8).step_by(stride) {
            // Writing to a string does not fail.
            let _ = write!(unit, "{}", access.replace("AT", &at.to_string()));
        }
        let mut attack = Attack::repeat(name, "", &unit).pages(PAGES);
        attack.body.shrink_to_fit();
        attack
    };
    vec![
        load("i64", "load"),
        load("i32", "load8_s"),
        load("i32", "load16_u"),
        load("i64", "load32_s"),
        store("i64", "store"),
        store("i32", "store8"),
        store("i32", "store16"),
        store("i64", "store32"),
        over_all("i64.load, all pages", stride, sum),
        over_all(
            "i64.store, all pages",
            stride,
            "(i64.store (local.get $p) (i64.const -1))",
        ),
        fixed(
            "i64.store at constants, all pages",
            "(i64.store offset=AT (i32.const 0) (i64.const 1))",
            stride,
        ),
        fixed(
            "i64.load at constants, all pages",
            "(drop (i64.load offset=AT (i32.const 0)))",
            stride,
        ),
        fixed(
            "i64.store across small pages",
            "(i64.store offset=AT (i32.const 4092) (i64.const 1))",
            2 * SMALL_PAGE,
        ),
        Attack::repeat(
            "i64.load across two pages",
            "(local $x i64)",
            "(local.set $x (i64.load offset=4092 (i32.wrap_i64 (i64.and (local.get $x) \
             (i64.const 0)))))",
        ),
        // The load needs two stores: it waits until they are in the cache.
        Attack::repeat(
            "a load of what two stores wrote",
            "(local $x i64)",
            "(i32.store8 (i32.const 8) (i32.wrap_i64 (local.get $x)))
             (local.set $x (i64.load (i32.const 4)))",
        ),
        // A store of which the load's address may be the same.
        Attack::repeat(
            "loads 4 KiB behind stores",
            "(local $x i64)",
            "(i64.store (i32.const 64) (local.get $x))
             (local.set $x (i64.load offset=4160 (i32.const 0)))",
        ),
    ]
}

/// Bulk operations, large and empty, and growth.
fn bulk() -> Vec<Attack> {
    let passive = "(data $d \"0123456789abcdef\")";
    let large = format!("(data $d \"{}\")", "x".repeat(PAGE));
    vec![
        Attack::repeat(
            "memory.copy of 1 MiB",
            "",
            "(memory.copy (i32.const 0) (i32.const 1048577) (i32.const 1048000))",
        )
        .pages(PAGES),
        Attack::repeat(
            "memory.copy of 4,000 bytes, unaligned",
            "",
            "(memory.copy (i32.const 61) (i32.const 8195) (i32.const 4000))",
        ),
        Attack::repeat(
            "memory.copy of 64 bytes",
            "",
            "(memory.copy (i32.const 4065) (i32.const 8163) (i32.const 64))",
        ),
        Attack::repeat(
            "memory.copy of nothing",
            "",
            "(memory.copy (i32.const 0) (i32.const 8) (i32.const 0))",
        ),
        Attack::repeat(
            "memory.copy of one byte",
            "",
            "(memory.copy (i32.const 0) (i32.const 8) (i32.const 1))",
        ),
        Attack::repeat(
            "memory.fill of 2 MiB, in parts of 64 KiB",
            "(local $p i32)",
            "(memory.fill (local.get $p) (i32.const 1) (i32.const 65536))
             (local.set $p (i32.and (i32.add (local.get $p) (i32.const 65536)) (i32.const 0x1fffff)))",
        )
        .pages(PAGES),
        Attack::repeat(
            "memory.fill of one byte",
            "",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const 1))",
        ),
        Attack::repeat(
            "memory.init of nothing",
            "",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))",
        )
        .fields(passive),
        Attack::repeat(
            "memory.init of one byte",
            "",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))",
        )
        .fields(passive),
        Attack::repeat(
            "memory.init of 64 KiB",
            "",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 65536))",
        )
        .fields(large),
        Attack::repeat("data.drop", "", "(data.drop $d)").fields(passive),
        Attack::repeat("memory.grow by nothing", "", "(drop (memory.grow (i32.const 0)))"),
        Attack::repeat("memory.grow by one page", "", "(drop (memory.grow (i32.const 1)))"),
        Attack::repeat("memory.grow that is refused", "", "(drop (memory.grow (i32.const 1)))")
            .pages(PAGES),
        Attack::repeat("memory.size", "", "(drop (memory.size))"),
        Attack::after(
            "a byte in each small page of memory that is grown",
            "(local $p i32)",
            "(drop (memory.grow (i32.const 31)))",
            "(i32.store8 (local.get $p) (i32.const 1))
             (local.set $p (i32.and (i32.add (local.get $p) (i32.const 4096)) (i32.const 0x1fffff)))",
        ),
    ]
}

/// Calls of each kind.
fn calls() -> Vec<Attack> {
    let wide = |count: usize| {
        let params = "i64 ".repeat(count);
        let arguments = "(i64.const 1) ".repeat(count);
        Attack::repeat(
            &format!("call with {count} parameters"),
            "",
            &format!("(call $f {arguments})"),
        )
        .fields(format!("(func $f (param {params}))"))
    };
    let results = "i64 ".repeat(32);
    let values = "(i64.const 1) ".repeat(32);
    let table = "(type $t (func)) (table 2 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g)";
    vec![
        Attack::repeat("call", "", "(call $f)").fields("(func $f)"),
        wide(32),
        Attack::repeat(
            "call with 32 results",
            "",
            &format!("(call $f) {}", "drop ".repeat(32)),
        )
        .fields(format!("(func $f (result {results}) {values})")),
        Attack::repeat("call of a function with 256 locals", "", "(call $f)")
            .fields(format!("(func $f (local {}))", "i64 ".repeat(256))),
        Attack::repeat(
            "call_indirect",
            "",
            "(call_indirect (type $t) (i32.const 1))",
        )
        .fields(table),
        Attack::repeat(
            "call_indirect of two functions in turn, at random",
            "(local $x i32)",
            &format!(
                "{RANDOM} (call_indirect (type $t) (i32.shr_u (local.get $x) (i32.const 31)))"
            ),
        )
        .fields(table),
        indirect_of_many(),
        Attack::repeat("recursion, 300 deep", "", "(call $down (i32.const 300))").fields(
            "(func $down (param i32) (if (local.get 0)
               (then (call $down (i32.sub (local.get 0) (i32.const 1))))))",
        ),
    ]
}

/// The next random number: one step of a linear congruential generator (Numerical Recipes).
const RANDOM: &str = "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) \
                      (i32.const 1013904223)))";

/// Calls of 2,048 functions at random: neither their code nor the branch is where it is looked for.
fn indirect_of_many() -> Attack {
    let mut fields =
        String::from("(type $t (func)) (table 2048 funcref) (global $g (mut i32) (i32.const 0))");
    let mut elements = String::new();
    for n in 0..2_048 {
        let _ = write!(fields, "(func $f{n} (global.set $g (i32.const {n})))");
        let _ = write!(elements, " $f{n}");
    }
    let _ = write!(fields, "(elem (i32.const 0){elements})");
    Attack::repeat(
        "call_indirect of 2,048 functions at random",
        "(local $x i32)",
        &format!("{RANDOM} (call_indirect (type $t) (i32.shr_u (local.get $x) (i32.const 21)))"),
    )
    .fields(fields)
}

/// Branches that nobody can foresee.
fn branches() -> Vec<Attack> {
    let table = |targets: usize| {
        let open = "(block ".repeat(targets);
        let labels: String = (0..targets).map(|n| format!("{n} ")).collect();
        let bits = 32 - targets.trailing_zeros();
        let unit = format!(
            "{RANDOM} {open} (br_table {labels} 0 (i32.shr_u (local.get $x) (i32.const {bits})))
             {}",
            ")".repeat(targets)
        );
        Attack {
            name: format!("br_table of {targets} targets at random"),
            memory: "1".to_owned(),
            fields: String::new(),
            body: format!(
                "(local $x i32) (loop $again {} (br $again)) (unreachable)",
                unit.repeat(8)
            ),
            data: Vec::new(),
        }
    };
    vec![
        Attack {
            body: "(loop (br 0)) (unreachable)".to_owned(),
            ..Attack::repeat("an empty loop", "", "")
        },
        Attack::repeat(
            "if at random",
            "(local $x i32) (local $y i32)",
            &format!(
                "{RANDOM} (if (i32.lt_s (local.get $x) (i32.const 0))
                   (then (local.set $y (i32.add (local.get $y) (local.get $x))))
                   (else (local.set $y (i32.sub (local.get $y) (i32.const 7)))))"
            ),
        ),
        Attack::repeat(
            "br_if at random, around a store",
            "(local $x i32)",
            &format!(
                "{RANDOM} (block (br_if 0 (i32.lt_s (local.get $x) (i32.const 0)))
                   (i32.store (i32.const 0) (local.get $x)))"
            ),
        ),
        table(2),
        table(16),
        table(64),
        Attack::repeat(
            "blocks in blocks",
            "",
            &format!("{}{}", "(block ".repeat(60), ")".repeat(60)),
        ),
    ]
}

/// What is left: locals, globals, constants, selections.
fn rest() -> Vec<Attack> {
    let mut locals = String::new();
    let mut shuffle = String::new();
    for n in 0..200 {
        let _ = write!(locals, "(local $l{n} i64)");
        let _ = write!(
            shuffle,
            "(local.set $l{n} (i64.add (local.get $l{}) (local.get $l{})))",
            (n * 7 + 3) % 200,
            (n * 13 + 5) % 200
        );
    }
    vec![
        Attack::repeat("nop", "", "(nop)"),
        Chain::i64(
            "select",
            "(select (local.get $x) (local.get $y) (i32.wrap_i64 (local.get $x)))",
        ),
        Attack::repeat("two hundred locals, all in use", &locals, &shuffle),
        Chain::steps(
            "large constants",
            "i64",
            "(local.set $x (i64.add (i64.xor (local.get $x) (i64.const 0x123456789abcdef0)) \
             (i64.const 0x0fedcba987654321)))",
            [1, 0, 0],
        ),
        Attack::repeat(
            "global.get and global.set",
            "",
            "(global.set $g (i64.rotl (i64.xor (global.get $g) (global.get $h)) (global.get $g)))",
        )
        .fields(
            "(global $g (mut i64) (i64.const 3))
             (global $h (export \"h\") (mut i64) (i64.const 5))",
        ),
        Attack::repeat("global.set", "", "(global.set $g (i64.const 1))")
            .fields("(global $g (mut i64) (i64.const 0))"),
        Chain::steps(
            "comparisons",
            "i32",
            "(local.set $x (i32.lt_s (i32.xor (local.get $x) (local.get $y)) (local.get $z)))",
            [5, 9, 7],
        ),
    ]
}
