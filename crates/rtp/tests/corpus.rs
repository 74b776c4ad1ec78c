//! Replays what the fuzzer knows.

#[path = "../../../fuzz/replay.rs"]
mod fuzz;

#[test]
fn rtcp() {
    fuzz::replay("rtcp", causeway_rtp::fuzzing::rtcp);
}

#[test]
fn udptl() {
    fuzz::replay("udptl", causeway_rtp::fuzzing::udptl);
}
