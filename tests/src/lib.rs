//! rsc tests.
