//! The server: sessions of many supervisors over any mix of transports, each driving one sandbox of the kernel.

pub mod sandbox;
