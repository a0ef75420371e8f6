//! An allocator that counts what each thread asks of it.
//!
//! **Job.** Give allocation tests a number. **Called by** `allocations` here and `files_allocations` of the web role.
//!
//! **Why this may be:** a global allocator cannot be written in safe code; this one only counts, and passes every call on
//! to the system's allocator unchanged.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocator; a test program makes it its global one.
pub(crate) struct Counting;

thread_local! {
    /// Allocations that this thread asked for so far.
    pub(crate) static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Gone at the thread's end: nobody counts there.
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
