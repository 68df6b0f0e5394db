//! What the dynamic loader calls.

extern "C" fn begin() {
    rsc_interpose::begin();
}

/// Called when the library is there.
#[used]
// SAFETY: the section is an array of functions like this one.
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
