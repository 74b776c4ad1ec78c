//! What the benchmarks share: exact run times, memory, processes and network namespaces that end with their owner; and the
//! allocator of the program itself, for the parts of it that they run in their own process.

pub mod cpu;
pub mod process;
pub mod space;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: Jemalloc = Jemalloc;
