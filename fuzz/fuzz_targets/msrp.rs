#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_split_proxy::fuzzing::msrp(data));
