//! Replays the fuzz corpus.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn message() {
    replay("message", causeway_sip::fuzzing::message);
}

#[test]
fn framer() {
    replay("framer", causeway_sip::fuzzing::framer);
}

#[test]
fn digest() {
    replay("digest", causeway_sip::fuzzing::digest);
}
