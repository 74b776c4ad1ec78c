//! Replays what the fuzzer knows.

#[path = "../../../fuzz/replay.rs"]
mod fuzz;

#[test]
fn user_keys() {
    fuzz::replay("user_keys", causeway_split_proxy::fuzzing::keys);
}

#[test]
fn msrp() {
    fuzz::replay("msrp", causeway_split_proxy::fuzzing::msrp);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 3000, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
    })]

    /// Random acts of whoever stands in between, most of them letting things pass.
    #[test]
    fn nobody_in_between_makes_anything_pass_for_genuine(
        data in proptest::collection::vec(proptest::num::u8::ANY, 0..200)
    ) {
        causeway_split_proxy::fuzzing::keys(&data);
    }
}
