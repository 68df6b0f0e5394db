//! rsc gofer.
