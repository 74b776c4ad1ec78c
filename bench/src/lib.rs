//! What the benchmarks share: exact run times, memory, processes and network namespaces that end with their owner.

pub mod cpu;
pub mod process;
pub mod space;
