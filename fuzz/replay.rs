//! Replays the corpus of a fuzz target: seeds, and whatever fuzzing has found since. A module of the tests of those
//! crates that have targets.
#![allow(clippy::print_stdout, reason = "names the file that fails")]

use std::path::Path;

/// Runs `body` over every file of a target's corpus, and over every prefix of it.
pub fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        body(&data);
        // Every prefix is an input too, and a cheap one.
        (0..data.len().min(2048)).for_each(|end| body(&data[..end]));
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", folder.display());
}
