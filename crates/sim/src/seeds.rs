//! Many runs, each with its own seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `test` with the seeds `0..n`; when one fails, says which, and fails likewise.
///
/// `CAUSEWAY_SEED=k` runs only seed `k`; `CAUSEWAY_SEEDS=m` runs `0..m` instead.
///
/// # Panics
/// When `test` does, with its message, after printing the seed.
pub fn for_each_seed(n: u64, test: impl Fn(u64)) {
    if let Some(seed) = variable("CAUSEWAY_SEED") {
        return test(seed);
    }
    for seed in 0..variable("CAUSEWAY_SEEDS").unwrap_or(n) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("sim: failed with seed={seed}; run it again with CAUSEWAY_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
