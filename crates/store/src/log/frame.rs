//! How a batch lies in the file. All numbers are little-endian.
//!
//! ```text
//! batch    length u32 │ checksum u32 │ generation u64 │ number u64 │ record …
//! record   space length u8 │ space │ key length u32 │ key │ value length u32 + 1, 0 for none │ value
//! ```
//! `length` counts the records alone; the checksum (CRC-32) covers all that follows it. Batches are numbered from 0;
//! the first that is damaged, out of order or of another generation ends the log: it was never acknowledged, or
//! belongs to an earlier use of the file.

use crate::sqlite::Change;
use causeway_node::Record;
use std::collections::BTreeMap;

const HEADER: usize = 24;

/// The last change of each key, by space and key: its value, `None` if it was removed.
pub(crate) type Changes<'a> = BTreeMap<(&'a str, &'a [u8]), Option<&'a [u8]>>;

/// Appends a batch.
pub(super) fn write(generation: u64, number: u64, records: &[Record], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; 8]);
    out.extend(generation.to_le_bytes());
    out.extend(number.to_le_bytes());
    for record in records {
        debug_assert!(record.space.len() < 256, "spaces have short names");
        out.push(record.space.len() as u8);
        out.extend(record.space.as_bytes());
        out.extend((record.key.len() as u32).to_le_bytes());
        out.extend(&record.key);
        let value = record.value.as_deref();
        out.extend(value.map_or(0, |value| value.len() as u32 + 1).to_le_bytes());
        out.extend(value.unwrap_or_default());
    }
    let length = (out.len() - start - HEADER) as u32;
    let checksum = crc32fast::hash(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// The generation that a file is of, if it begins with a whole batch.
pub(super) fn generation(bytes: &[u8]) -> Option<u64> {
    batch(bytes).filter(|batch| batch.number == 0).map(|batch| batch.generation)
}

/// What the log of one generation comes to; a file that is of another one holds nothing of it.
pub(super) fn last_of_each(generation: u64, bytes: &[u8]) -> Changes<'_> {
    let mut changes = Changes::new();
    let (mut rest, mut number) = (bytes, 0);
    while let Some(batch) = batch(rest).filter(|b| (b.generation, b.number) == (generation, number)) {
        let mut records = batch.records;
        while let Some(change) = take_change(&mut records) {
            changes.insert((change.space, change.key), change.value);
        }
        (rest, number) = (batch.rest, number + 1);
    }
    changes
}

struct Batch<'a> {
    generation: u64,
    number: u64,
    records: &'a [u8],
    rest: &'a [u8],
}

fn batch(bytes: &[u8]) -> Option<Batch<'_>> {
    let mut rest = bytes;
    let length = take_u32(&mut rest)? as usize;
    let checksum = take_u32(&mut rest)?;
    let covered = rest.get(..(HEADER - 8).checked_add(length)?)?;
    if crc32fast::hash(covered) != checksum {
        return None;
    }
    let generation = u64::from_le_bytes(*rest.split_off(..8)?.as_array()?);
    let number = u64::from_le_bytes(*rest.split_off(..8)?.as_array()?);
    let records = rest.split_off(..length)?;
    Some(Batch { generation, number, records, rest })
}

fn take_change<'a>(bytes: &mut &'a [u8]) -> Option<Change<'a>> {
    let space = *bytes.split_off_first()?;
    let space = std::str::from_utf8(bytes.split_off(..usize::from(space))?).ok()?;
    let key = take_u32(bytes)? as usize;
    let key = bytes.split_off(..key)?;
    let value = match take_u32(bytes)?.checked_sub(1) {
        Some(length) => Some(bytes.split_off(..length as usize)?),
        None => None,
    };
    Some(Change { space, key, value })
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.split_off(..4)?.as_array()?))
}
