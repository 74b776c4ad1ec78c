//! Replays what the fuzzer knows.

use causeway_tunnel::fuzzing;

fn replay(target: &str, least: usize, body: fn(&[u8])) {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/").to_owned() + target;
    let files: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= least, "the corpus lies in {corpus}");
    for file in files {
        body(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn the_corpus_of_frames_passes() {
    replay("tunnel_frames", 22, fuzzing::frames);
}

#[test]
fn the_corpus_of_resumptions_passes() {
    replay("resume", 4, fuzzing::resume);
}
