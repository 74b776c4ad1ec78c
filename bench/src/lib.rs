//! What the benchmarks share: exact run times, memory, processes that end with their owner.

pub mod cpu;
pub mod process;
