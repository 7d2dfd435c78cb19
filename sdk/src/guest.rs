//! What only exists inside a guest: allocator, panic handler and the door to the host.
//!
//! Nothing in a guest instance survives a call, so the allocator never frees.
#![allow(
    unsafe_code,
    reason = "The ABI passes places in memory as integers, and an allocator is unsafe by nature."
)]

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::PANIC_BYTES_MAX;
use crate::policy::{self, CallError, Policy};
use crate::wire;

/// Bytes in one page of WebAssembly memory.
const PAGE_BYTES: usize = 64 * 1024;
/// Alignment of what the host asks for, in bytes.
const INPUT_ALIGN: usize = 8;

unsafe extern "C" {
    /// First byte behind data and stack; its *address* is the value (the linker defines it).
    static __heap_base: u8;
}

/// Next free byte; 0 until the first allocation. A guest has one thread, so the atomic compiles to
/// a plain load and store; it is here because a plain static cannot be written safely.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Hands out memory from the end of the stack upwards and never takes it back.
struct Bump;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

impl Bump {
    /// A place for `size` bytes, or null where the memory cannot grow so far.
    fn take(size: usize, align: usize) -> *mut u8 {
        let mut next = NEXT.load(Ordering::Relaxed);
        if next == 0 {
            next = (&raw const __heap_base) as usize;
        }
        let Some(start) = next.checked_next_multiple_of(align) else {
            return core::ptr::null_mut();
        };
        match start.checked_add(size) {
            Some(end) if reserve(end) => {
                NEXT.store(end, Ordering::Relaxed);
                start as *mut u8
            }
            _ => core::ptr::null_mut(),
        }
    }
}

/// Grows the memory until it holds `end` bytes.
fn reserve(end: usize) -> bool {
    // At most 65,536 pages of 65,536 bytes: the product may be 2^32, which `usize` does not hold.
    let have_pages = core::arch::wasm32::memory_size(0);
    let need_pages = end.div_ceil(PAGE_BYTES);
    need_pages <= have_pages
        || core::arch::wasm32::memory_grow(0, need_pages - have_pages) != usize::MAX
}

// SAFETY: every place handed out lies behind data and stack, inside memory, and is handed out once.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, _ptr: *mut u8, _layout: Layout) {}

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Fresh memory is zero and nothing is handed out twice.
        Self::take(layout.size(), layout.align())
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size <= layout.size() {
            // Not given back: `alloc_zeroed` counts on nothing being handed out twice.
            return ptr;
        }
        let start = ptr as usize;
        let is_last = start + layout.size() == NEXT.load(Ordering::Relaxed);
        if is_last {
            // Growing buffers are mostly the last allocation: extend them where they are.
            return match start.checked_add(new_size) {
                Some(end) if reserve(end) => {
                    NEXT.store(end, Ordering::Relaxed);
                    ptr
                }
                _ => core::ptr::null_mut(),
            };
        }
        let new = Self::take(new_size, layout.align());
        if !new.is_null() {
            // SAFETY: both places hold as many bytes, and `new` was never handed out before.
            unsafe { core::ptr::copy_nonoverlapping(ptr, new, layout.size()) };
        }
        new
    }
}

/// What the last panic said, for the author: see [`last_panic`].
struct Words {
    len: AtomicUsize,
    bytes: UnsafeCell<[u8; PANIC_BYTES_MAX]>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Words {}

static WORDS: Words = Words {
    len: AtomicUsize::new(0),
    bytes: UnsafeCell::new([0; PANIC_BYTES_MAX]),
};

impl Words {
    /// Adds as much of `text` as there is room for.
    fn push(&self, text: &str) {
        let len = self.len.load(Ordering::Relaxed);
        let count = text.len().min(PANIC_BYTES_MAX.saturating_sub(len));
        let start = self.bytes.get().cast::<u8>();
        // SAFETY: `len + count` is at most `PANIC_BYTES_MAX`, nothing refers to the bytes while
        // this runs, and a text never lies in them.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), start.add(len), count) };
        self.len.store(len + count, Ordering::Relaxed);
    }

    /// Adds a number; the library's formatter would be 1.4 KB more in every module.
    fn push_number(&self, number: u32) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        let digit = (number % 10) as usize;
        self.push("0123456789".get(digit..=digit).unwrap_or_default());
    }
}

impl fmt::Write for &Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// A panic ends the evaluation with the trap `unreachable`, which denies. What it says is kept
/// where `raft3d policy run` finds it; a replica never looks.
///
/// Nothing here allocates: it may be for want of memory that a guest panics.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // `PanicInfo`'s own form begins with the place, which the limit must not cut off the message.
    let _ = write!(&WORDS, "{}", info.message());
    if let Some(place) = info.location() {
        for part in [" (", place.file(), ":"] {
            WORDS.push(part);
        }
        WORDS.push_number(place.line());
        WORDS.push(")");
    }
    core::arch::wasm32::unreachable()
}

/// Body of the export `raft3d_panic`: the place of what the last panic said.
#[must_use]
pub fn last_panic() -> u64 {
    let len = WORDS.len.load(Ordering::Relaxed);
    wire::pack(WORDS.bytes.get() as u32, len as u32)
}

/// Body of the export `raft3d_alloc`.
#[must_use]
pub fn alloc(len: u32) -> u32 {
    Bump::take(len as usize, INPUT_ALIGN) as u32
}

/// Body of the export `admission`.
#[must_use]
pub fn admission<P: Policy>(ptr: u32, len: u32) -> u64 {
    answer(policy::admission::<P>(input(ptr, len)))
}

/// Body of the export `transition`.
#[must_use]
pub fn transition<P: Policy>(ptr: u32, len: u32) -> u64 {
    answer(policy::transition::<P>(input(ptr, len)))
}

/// Body of the export `deduction`.
#[must_use]
pub fn deduction<P: Policy>(ptr: u32, len: u32) -> u64 {
    answer(policy::deduction::<P>(input(ptr, len)))
}

/// Body of the export `check_config`.
#[must_use]
pub fn check_config<P: Policy>(ptr: u32, len: u32) -> u64 {
    answer(Ok(policy::check_config::<P>(input(ptr, len))))
}

fn input(ptr: u32, len: u32) -> &'static [u8] {
    // SAFETY: the host calls an export with the place that `raft3d_alloc` gave it, after writing
    // all of it; nothing else refers to that place, and it is never freed.
    unsafe { core::slice::from_raw_parts(ptr as *const u8, len as usize) }
}

fn answer(result: Result<Vec<u8>, CallError>) -> u64 {
    match result {
        Ok(bytes) => {
            // Leaked: the host reads it after the call, and then drops the instance.
            let bytes = bytes.leak();
            wire::pack(bytes.as_ptr() as u32, bytes.len() as u32)
        }
        // The host sent something that is not a call of this ABI.
        Err(_) => core::arch::wasm32::unreachable(),
    }
}
