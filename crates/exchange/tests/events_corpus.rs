//! Replays the fuzz corpus.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn pidf() {
    replay("pidf", causeway_exchange::events::fuzzing::pidf);
}
