//! Responses that are kept in case their request comes again, one after the other in blocks.
//!
//! By far the most bytes that a busy element keeps are these, each for as long as timer J runs. They come and go in nearly
//! one order, so a block is done with about when its first response is; and the allocator, which would have to find
//! a place for each among others that live for a moment, sees none of them.

use std::collections::VecDeque;

/// Where a response lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    block: u64,
    start: u32,
    len: u32,
}

/// All of them. Whoever puts one here takes it away within a time that is the same for all: a single one keeps its block.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    blocks: VecDeque<Block>,
    /// Blocks that were there before the first that is.
    gone: u64,
    /// One to be used again.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// How many responses in it are still wanted.
    wanted: usize,
}

impl Shelf {
    /// What a block holds, if its first response is not longer alone.
    const BLOCK: usize = 64 * 1024;

    /// Keeps a response.
    pub fn put(&mut self, response: &[u8]) -> Place {
        let room = |block: &&mut Block| block.bytes.capacity() - block.bytes.len() >= response.len();
        if self.blocks.back_mut().filter(room).is_none() {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            bytes.reserve_exact(response.len().max(Self::BLOCK));
            self.blocks.push_back(Block { bytes, wanted: 0 });
            self.tidy();
        }
        let block = self.gone + self.blocks.len() as u64 - 1;
        let Some(Block { bytes, wanted }) = self.blocks.back_mut() else {
            unreachable!("one has been added")
        };
        // A message is shorter than 4 GiB, and a block as long as its last message at most beyond its first 64 KiB.
        let place = Place { block, start: bytes.len() as u32, len: response.len() as u32 };
        bytes.extend_from_slice(response);
        *wanted += 1;
        place
    }

    /// What lies there; nothing if it was taken away.
    pub fn get(&self, place: Place) -> &[u8] {
        let block = place.block.checked_sub(self.gone).and_then(|at| self.blocks.get(at as usize));
        let bytes =
            block.and_then(|block| block.bytes.get(place.start as usize..)?.get(..place.len as usize));
        bytes.unwrap_or_default()
    }

    /// Takes it away; once for each.
    pub fn take(&mut self, place: Place) {
        let block = place.block.checked_sub(self.gone).and_then(|at| self.blocks.get_mut(at as usize));
        if let Some(block) = block {
            block.wanted = block.wanted.saturating_sub(1);
            if block.wanted == 0 {
                self.tidy();
            }
        }
    }

    /// Lets go of blocks of which nothing is wanted, but for the last, which is being filled.
    fn tidy(&mut self) {
        while self.blocks.len() > 1
            && let Some(block) = self.blocks.pop_front_if(|block| block.wanted == 0)
        {
            self.gone += 1;
            self.spare = block.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_until_it_is_taken_away_and_blocks_go_in_order() {
        let mut shelf = Shelf::default();
        let response = |n: usize| vec![n as u8; 100 + n * 7 % 900];
        let mut kept = VecDeque::new();
        for n in 0..5_000 {
            kept.push_back((n, shelf.put(&response(n))));
            if kept.len() > 500 {
                // Not quite in order.
                let at = n % 3;
                let (_, place) = kept.remove(at).unwrap();
                shelf.take(place);
            }
            assert!(shelf.blocks.len() <= 8, "{} blocks", shelf.blocks.len());
        }
        for (n, place) in &kept {
            assert_eq!(shelf.get(*place), response(*n));
        }
        let (_, first) = kept[0];
        kept.iter().for_each(|(_, place)| shelf.take(*place));
        assert_eq!((shelf.blocks.len(), shelf.get(first)), (1, &b""[..]));
    }

    #[test]
    fn a_long_one_has_a_block_of_its_own() {
        let mut shelf = Shelf::default();
        let long = vec![b'x'; 200_000];
        let places = [shelf.put(b"short"), shelf.put(&long), shelf.put(b"again")];
        let all = [&b"short"[..], &long, b"again"];
        assert!(places.iter().zip(all).all(|(place, bytes)| shelf.get(*place) == bytes));
        assert_eq!(shelf.blocks.len(), 3);
    }
}
