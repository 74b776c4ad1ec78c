use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn put(key: u8, value: &[u8]) -> Record {
    Record { space: "a", key: vec![key], value: Some(value.to_vec()) }
}

fn remove(key: u8) -> Record {
    Record { space: "a", key: vec![key], value: None }
}

fn open(dir: &Path, capacity: u64) -> Logged {
    Logged::with_capacity(Store::open(dir, "x.db").unwrap(), capacity).unwrap()
}

fn content(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    Store::open(dir, "x.db").unwrap().load("a").unwrap().into_iter().collect()
}

/// The files as a process that dies now leaves them, opened again.
fn after_death(dir: &Path, spoil: impl FnOnce(&Path)) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    spoil(copy.path());
    drop(open(copy.path(), 100));
    content(copy.path())
}

#[test]
fn what_was_committed_is_there_after_death_and_after_an_orderly_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), CAPACITY).start().unwrap();
    log.commit(&[put(1, b"x"), put(2, b""), put(1, b"y"), put(3, b"z")]).unwrap();
    log.commit(&[remove(3)]).unwrap();
    let expected = BTreeMap::from([(vec![1], b"y".to_vec()), (vec![2], vec![])]);
    assert!(content(dir.path()).is_empty(), "the store itself has not been written yet");
    assert_eq!(after_death(dir.path(), |_| ()), expected);
    drop(log);
    assert_eq!(content(dir.path()), expected);
}

#[test]
fn a_batch_that_was_not_written_whole_is_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), CAPACITY).start().unwrap();
    log.commit(&[put(1, b"first")]).unwrap();
    let len = log.current.len() as usize;
    log.commit(&[put(2, b"second"), put(3, b"second")]).unwrap();
    let end = log.current.len() as usize;
    for at in len..end {
        let found = after_death(dir.path(), |copy| {
            let path = copy.join("x.db-log0");
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 0x10;
            fs::write(path, bytes).unwrap();
        });
        assert_eq!(found.keys().collect::<Vec<_>>(), [&[1]], "byte {at}");
    }
}

#[test]
fn an_earlier_use_of_a_file_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 100).start().unwrap();
    // Four batches fill each file; the fifth of every key removes it.
    for round in 0..40u8 {
        log.commit(&[if round % 5 == 4 { remove(round / 5) } else { put(round / 5, &[round; 20]) }]).unwrap();
        let found = after_death(dir.path(), |_| ());
        let expected = if round % 5 == 4 { None } else { Some(vec![round; 20]) };
        assert_eq!(found.get(&vec![round / 5]), expected.as_ref(), "round {round}");
        assert_eq!(found.len(), usize::from(expected.is_some()));
    }
}

#[test]
fn starting_and_ending_without_a_commit_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 100).start().unwrap();
    for round in 0..8 {
        log.commit(&[put(1, &[round; 30])]).unwrap();
    }
    drop(log);
    for _ in 0..3 {
        drop(open(dir.path(), 100).start().unwrap());
        assert_eq!(content(dir.path())[&vec![1]], vec![7; 30]);
    }
}

#[test]
fn a_second_process_is_kept_away() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), 100);
    let second = Logged::open(Store::open(dir.path(), "x.db").unwrap()).err().unwrap().to_string();
    assert!(second.contains("x.db-log0") && second.contains("another process"), "{second}");
}

#[test]
fn a_batch_larger_than_the_file_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 100).start().unwrap();
    log.commit(&[put(1, &[7; 200_000])]).unwrap();
    log.commit(&[put(2, b"x")]).unwrap();
    assert_eq!(after_death(dir.path(), |_| ()).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any commits, and a death after each: what is found is what a map would hold.
    #[test]
    fn a_log_is_a_map(commits in prop::collection::vec(
        prop::collection::vec((0u8..6, prop::option::of(prop::collection::vec(any::<u8>(), 0..30))), 1..4), 1..20)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 120).start().unwrap();
        let mut model = BTreeMap::new();
        for records in &commits {
            let batch: Vec<Record> = records.iter().map(|(key, value)| Record {
                space: "a", key: vec![*key], value: value.clone(),
            }).collect();
            log.commit(&batch).unwrap();
            for (key, value) in records {
                match value {
                    Some(value) => model.insert(vec![*key], value.clone()),
                    None => model.remove(&vec![*key]),
                };
            }
        }
        prop_assert_eq!(&after_death(dir.path(), |_| ()), &model);
        drop(log);
        prop_assert_eq!(&content(dir.path()), &model);
    }

    /// Whatever lies in a file, it is read without a panic.
    #[test]
    fn noise_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        frame::last_of_each(0, &bytes);
    }
}
