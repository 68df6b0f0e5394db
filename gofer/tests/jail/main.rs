//! The gofer as a process.

#[cfg(test)]
mod running;
