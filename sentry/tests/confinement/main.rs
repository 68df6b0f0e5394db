//! The confinement of a sentry as a process.

#[cfg(test)]
mod running;
