//! Replays what the fuzzer knows.

use causeway_tunnel::fuzzing;

#[test]
fn the_corpus_passes() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tunnel_frames");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 16, "the corpus lies in {corpus}");
    for file in files {
        fuzzing::frames(&std::fs::read(&file).unwrap());
    }
}
