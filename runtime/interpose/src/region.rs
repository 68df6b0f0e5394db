//! Marked regions: stretches of a thread's code whose calls are decided on terms of their own.
//!
//! A thread has a stack of them. No destructors: calls are made until the very end of a thread.

use std::cell::Cell;
use std::sync::OnceLock;

use rsc_sdk::broker::terms::Terms;

/// Regions within each other at most.
const DEPTH_MAX: usize = 64;

/// The terms of threads without a region. Unset: nothing is asked about.
static OUTSIDE: OnceLock<Outside> = OnceLock::new();

struct Outside {
    terms: &'static Terms,
    /// Rules decide there, as in a region.
    decided: bool,
}

struct Stack {
    depth: Cell<usize>,
    levels: [Cell<Option<&'static Terms>>; DEPTH_MAX],
}

thread_local! {
    static STACK: Stack = const { Stack { depth: Cell::new(0), levels: [const { Cell::new(None) }; DEPTH_MAX] } };
}

/// Sets what counts without a region; whether it is that now. `decided`: rules decide there.
pub(crate) fn set_outside(terms: &'static Terms, decided: bool) -> bool {
    std::ptr::eq(OUTSIDE.get_or_init(|| Outside { terms, decided }).terms, terms)
}

/// The terms without a region.
pub(crate) fn outside() -> Option<&'static Terms> {
    OUTSIDE.get().map(|outside| outside.terms)
}

fn innermost() -> Option<&'static Terms> {
    STACK.with(|stack| stack.levels.get(stack.depth.get().checked_sub(1)?)?.get())
}

/// The terms of the calling thread's calls now. `None`: all are this machine's.
pub(crate) fn terms() -> Option<&'static Terms> {
    let outside = OUTSIDE.get()?;
    Some(innermost().unwrap_or(outside.terms))
}

/// Whether rules decide about the calling thread's calls now.
pub(crate) fn is_decided() -> bool {
    OUTSIDE.get().is_some_and(|outside| outside.decided) || innermost().is_some()
}

/// Enters a region. `false`: too many within each other.
pub(crate) fn enter(terms: &'static Terms) -> bool {
    STACK.with(|stack| {
        let depth = stack.depth.get();
        let Some(level) = stack.levels.get(depth) else { return false };
        level.set(Some(terms));
        stack.depth.set(depth + 1);
        true
    })
}

/// Leaves the innermost one. `false`: there is none.
pub(crate) fn leave() -> bool {
    STACK.with(|stack| match stack.depth.get().checked_sub(1) {
        Some(depth) => {
            stack.depth.set(depth);
            true
        }
        None => false,
    })
}
