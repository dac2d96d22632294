//! The allocator: wasi-libc's, because it begins with the memory that the module is born with. One that begins by growing
//! costs a system call in every fresh instance, more than a router's decision.
#![expect(unsafe_code, reason = "an allocator and the canonical ABI's way to it are unsafe by their signatures")]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};

// Besides the allocator: memcpy and its kin, which the compiler calls.
#[link(name = "c")]
unsafe extern "C" {
    fn malloc(size: usize) -> *mut u8;
    fn calloc(count: usize, size: usize) -> *mut u8;
    fn aligned_alloc(align: usize, size: usize) -> *mut u8;
    fn realloc(pointer: *mut u8, size: usize) -> *mut u8;
    fn free(pointer: *mut u8);
}

struct Libc;

#[global_allocator]
static ALLOCATOR: Libc = Libc;

/// What `malloc` aligns to.
const ALIGN: usize = 8;

// SAFETY: `malloc`, `aligned_alloc` and `realloc` give memory of the size and alignment asked for, or null; all of it goes
// back through `free`. `realloc` is asked only for what `malloc` aligns.
unsafe impl GlobalAlloc for Libc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGN {
            unsafe { malloc(layout.size()) }
        } else {
            // C wants the size to be a multiple of the alignment.
            unsafe { aligned_alloc(layout.align(), layout.size().next_multiple_of(layout.align())) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGN {
            return unsafe { calloc(layout.size(), 1) };
        }
        let pointer = unsafe { self.alloc(layout) };
        if !pointer.is_null() {
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        unsafe { free(pointer) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= ALIGN {
            return unsafe { realloc(pointer, size) };
        }
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            unsafe { new.copy_from_nonoverlapping(pointer, layout.size().min(size)) };
            unsafe { free(pointer) };
        }
        new
    }
}

/// How the host gets memory for what it hands over (canonical ABI, `realloc`). std's has this name too.
///
/// # Safety
///
/// `old` and `old_size` are from an earlier call with the same `align`, or zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    let pointer = if old_size == 0 {
        unsafe { alloc::alloc::alloc(Layout::from_size_align_unchecked(size, align)) }
    } else {
        unsafe { alloc::alloc::realloc(old, Layout::from_size_align_unchecked(old_size, align), size) }
    };
    if pointer.is_null() {
        core::arch::wasm32::unreachable();
    }
    pointer
}
