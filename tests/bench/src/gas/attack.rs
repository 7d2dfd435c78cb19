//! What an attack on gas is made of.

/// One attack.
pub(super) struct Attack {
    /// What it repeats.
    pub(super) name: String,
    /// Initial pages of memory, and the most that it declares.
    pub(super) memory: String,
    /// Fields of the module beside its exports: functions, globals, data.
    pub(super) fields: String,
    /// Body of the hook, which never ends by itself.
    pub(super) body: String,
    /// Active data, from address 0 on.
    pub(super) data: Vec<u8>,
}

impl Attack {
    /// Repeats `unit` until the gas is used up; `locals` are declared before.
    pub(super) fn repeat(name: &str, locals: &str, unit: &str) -> Self {
        Self::after(name, locals, "", unit)
    }

    /// The same with `setup` before the first round.
    pub(super) fn after(name: &str, locals: &str, setup: &str, unit: &str) -> Self {
        // Some four thousand instructions: one charge for each of them all.
        let instructions = (unit.matches('(').count() + unit.matches("drop ").count()).max(1);
        let unrolled = unit.repeat((4_000 / instructions).max(1));
        Self {
            name: name.to_owned(),
            memory: "1".to_owned(),
            fields: String::new(),
            body: format!("{locals} {setup} (loop $again {unrolled} (br $again)) (unreachable)"),
            data: Vec::new(),
        }
    }

    pub(super) fn pages(self, pages: usize) -> Self {
        self.memory(&pages.to_string())
    }

    pub(super) fn memory(self, memory: &str) -> Self {
        let memory = memory.to_owned();
        Self { memory, ..self }
    }

    pub(super) fn fields(self, fields: impl Into<String>) -> Self {
        Self {
            fields: fields.into(),
            ..self
        }
    }

    pub(super) fn data(self, data: Vec<u8>) -> Self {
        Self { data, ..self }
    }
}

/// Steps of `x = term(x, y) xor z`, in which nothing is known when it is compiled.
pub(super) struct Chain;

impl Chain {
    pub(super) fn i64(op: &str, term: &str) -> Attack {
        let values = [0x7123_4567_89ab_cdef, 0x0fed_cba9_8765_4321, 0x1f2e_3d4c];
        Self::of("i64", op, term, values)
    }

    /// `values` are what x, y and z begin with.
    pub(super) fn of(ty: &str, op: &str, term: &str, values: [u64; 3]) -> Attack {
        let step = format!("(local.set $x ({ty}.xor {term} (local.get $z)))");
        Self::steps(&format!("{ty}.{op}"), ty, &step, values)
    }

    /// The same with steps of any kind, which change x, and y and z if they like.
    pub(super) fn steps(name: &str, ty: &str, step: &str, values: [u64; 3]) -> Attack {
        let locals = format!("(local $x {ty}) (local $y {ty}) (local $z {ty})");
        let load =
            |name: &str, at: usize| format!("(local.set ${name} ({ty}.load (i32.const {at})))");
        let setup = [load("x", 0), load("y", 8), load("z", 16)].concat();
        let store = format!("({ty}.store (i32.const 0) (local.get $x))");
        let attack = Attack::after(name, &locals, &setup, step);
        let body = attack
            .body
            .replace("(br $again)", &format!("{store} (br $again)"));
        let data = values.iter().flat_map(|value| value.to_le_bytes());
        Attack { body, ..attack }.data(data.collect())
    }
}
