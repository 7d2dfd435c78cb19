// A policy in AssemblyScript against sdk/ABI.md: it lets in no job that is heavier than `max_mg`
// milligrams. README.md says how it is built.

const ALLOW = memory.data<u8>([0xa0]);
// {0: {0: 1, 1: "too_heavy", 2: "Too heavy.", 3: "/print_weight_in_grams"}}
const DENY_BYTES: u32 = 52;
const DENY = memory.data<u8>([
  0xa1, 0x00, 0xa4, 0x00, 0x01, 0x01, 0x69, 0x74, 0x6f, 0x6f, 0x5f, 0x68, 0x65, 0x61, 0x76, 0x79,
  0x02, 0x6a, 0x54, 0x6f, 0x6f, 0x20, 0x68, 0x65, 0x61, 0x76, 0x79, 0x2e, 0x03, 0x76, 0x2f, 0x70,
  0x72, 0x69, 0x6e, 0x74, 0x5f, 0x77, 0x65, 0x69, 0x67, 0x68, 0x74, 0x5f, 0x69, 0x6e, 0x5f, 0x67,
  0x72, 0x61, 0x6d, 0x73,
]);
// {0: "max_mg"}: what is missing. The name is compared with a field, too.
const BAD_CONFIG = memory.data<u8>([0xa1, 0x00, 0x66, 0x6d, 0x61, 0x78, 0x5f, 0x6d, 0x67]);
const DEPTH_MAX: u32 = 32;

// Where reading is, and where the bytes end. Every call finds them as they were.
let at: usize = 0;
let end: usize = 0;
let major: u8 = 0;
let value: u64 = 0;

function need(count: u64): void {
  if (u64(end - at) < count) unreachable();
}

function head(): void {
  need(1);
  const first = load<u8>(at++);
  major = first >> 5;
  value = first & 31;
  if (value >= 24) {
    if (value >= 28) unreachable();
    const count: u32 = 1 << u32(value - 24);
    need(count);
    value = 0;
    for (let place: u32 = 0; place < count; place++) value = (value << 8) | load<u8>(at++);
  }
}

function skip(depth: u32): void {
  if (depth == DEPTH_MAX) unreachable();
  head();
  if (major == 2 || major == 3) {
    need(value);
    at += usize(value);
  } else if (major == 4 || major == 5) {
    for (let left = value << u64(major - 4); left > 0; left--) skip(depth + 1);
  }
}

function find(key: u64): void {
  head();
  if (major != 5) unreachable();
  for (let left = value; left > 0; left--) {
    head();
    if (major == 0 && value == key) return;
    skip(0);
  }
  unreachable();
}

// `max_mg` of the configuration that comes next; 0 if it has none.
function maxMg(): u64 {
  if (at == end || load<u8>(at++) != 0xa1) return 0;
  if (end - at < 7) return 0;
  for (let place: usize = 0; place < 7; place++) {
    if (load<u8>(at + place) != load<u8>(BAD_CONFIG + 2 + place)) return 0;
  }
  at += 7;
  if (at == end) return 0;
  head();
  return major == 0 ? value : 0;
}

export function raft3d_abi_1(): void {}

export function raft3d_alloc(length: i32): usize {
  return heap.alloc(length);
}

export function check_config(input: usize, length: i32): u64 {
  at = input;
  end = input + length;
  if (maxMg() > 0 && at == end) return (u64(ALLOW) << 32) | 1;
  return (u64(BAD_CONFIG) << 32) | 9;
}

export function admission(input: usize, length: i32): u64 {
  at = input;
  end = input + length;
  find(0);
  find(2);
  find(4);
  head();
  const mg = value;
  at = input;
  find(1);
  head();
  if (mg > maxMg()) return (u64(DENY) << 32) | DENY_BYTES;
  return (u64(ALLOW) << 32) | 1;
}
