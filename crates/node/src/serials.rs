//! Tables whose keys are dealt out in order.

use crate::NumberMap;
use std::fmt;
use std::marker::PhantomData;

/// Values of one page.
const PAGE: usize = 32;

type Page<V> = Box<[Option<V>; PAGE]>;

/// A table under serial numbers, such as those of transactions.
///
/// What came at one time lies side by side, in pages of 32 values; so what is under way now stays in the processor's
/// caches, however much is held that has come before, where a [`NumberMap`] would have scattered it over all of its memory.
/// A page is given back when its last value goes: single values that stay while their neighbours go hold up to 32 places
/// each. Keys that were not dealt out in order are served as well, only not so cheaply.
///
/// ```
/// let mut calls = causeway_node::SerialMap::<u64, &str>::default();
/// assert_eq!(calls.insert(7, "ringing"), None);
/// assert_eq!(calls.insert(7, "answered"), Some("ringing"));
/// assert_eq!((calls.get(7), calls.get(8), calls.len()), (Some(&"answered"), None, 1));
/// assert_eq!(calls.remove(7), Some("answered"));
/// ```
pub struct SerialMap<K, V> {
    pages: NumberMap<u64, (usize, Page<V>)>,
    /// The page that was emptied last: the next one needed.
    spare: Option<Page<V>>,
    len: usize,
    key: PhantomData<K>,
}

impl<K, V> Default for SerialMap<K, V> {
    fn default() -> Self {
        Self { pages: NumberMap::default(), spare: None, len: 0, key: PhantomData }
    }
}

impl<K, V: fmt::Debug> fmt::Debug for SerialMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl<K, V> SerialMap<K, V> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys, as numbers, with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.pages.iter().flat_map(|(number, (_, page))| {
            let keys = number * PAGE as u64..;
            keys.zip(page.iter()).filter_map(|(key, value)| Some((key, value.as_ref()?)))
        })
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.pages.values_mut().flat_map(|(_, page)| page.iter_mut().flatten())
    }
}

impl<K: Into<u64>, V> SerialMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        let (page, place) = at(key);
        self.pages.get(&page)?.1.get(place)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let (page, place) = at(key);
        self.pages.get_mut(&page)?.1.get_mut(place)?.as_mut()
    }

    /// Whether a key has a value.
    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// Gives a key a value; returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (page, place) = at(key);
        let fresh = || (0, self.spare.take().unwrap_or_else(|| Box::new([const { None }; PAGE])));
        let (live, page) = self.pages.entry(page).or_insert_with(fresh);
        let old = page.get_mut(place)?.replace(value);
        let added = usize::from(old.is_none());
        *live += added;
        self.len += added;
        old
    }

    /// Takes away a key's value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let (number, place) = at(key);
        let (live, page) = self.pages.get_mut(&number)?;
        let old = page.get_mut(place)?.take()?;
        *live -= 1;
        self.len -= 1;
        if *live == 0 {
            self.spare = self.pages.remove(&number).map(|(_, page)| page);
        }
        Some(old)
    }
}

/// The page of a key, and its place there.
fn at(key: impl Into<u64>) -> (u64, usize) {
    let key = key.into();
    (key / PAGE as u64, key as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_any_table_would() {
        let (mut table, mut model) = (SerialMap::<u64, u64>::default(), BTreeMap::new());
        let mut state = 1_u64;
        for serial in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let other = serial.saturating_sub(state >> 54);
            assert_eq!(table.insert(serial, state), model.insert(serial, state));
            if state & 1 << 20 == 0 {
                assert_eq!(table.insert(other, serial), model.insert(other, serial));
            }
            for gone in [other, other / 2] {
                assert_eq!(table.remove(gone), model.remove(&gone));
            }
            assert_eq!(table.get_mut(serial).copied(), model.get(&serial).copied());
            assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
        }
        table.values_mut().for_each(|value| *value ^= 1);
        let values: BTreeMap<u64, u64> = table.iter().map(|(key, value)| (key, value ^ 1)).collect();
        assert_eq!(values, model);
        let keys: Vec<u64> = model.into_keys().collect();
        assert!(keys.iter().all(|key| table.contains(*key) && table.remove(*key).is_some()));
        assert!(table.is_empty() && table.pages.is_empty(), "empty pages are given back");
    }
}
