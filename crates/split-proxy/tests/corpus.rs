//! Replays the corpus of the fuzz targets.

#[path = "../../../fuzz/replay.rs"]
mod replay;

#[test]
fn msrp() {
    replay::replay("msrp", causeway_split_proxy::fuzz_msrp);
}
