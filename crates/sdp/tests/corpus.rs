//! Replays the fuzz corpus.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn sdp() {
    replay("sdp", causeway_sdp::fuzzing::sdp);
}
