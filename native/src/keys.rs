//! The dictionary of an attribute table's keys.

use std::collections::HashMap;
use std::sync::Arc;

use crate::columns::{Buffer, Column, Text, index};

/// Key → dense code, given out at first sight; senders' keys are hashed with a secret, so that none can make them meet.
#[derive(Default)]
pub struct Keys {
    codes: HashMap<Arc<[u8]>, i32>,
    raw: Vec<Arc<[u8]>>,
    texts: Text,
    /// By code, the code that came after it the last time: spans repeat the keys of the ones before, in their order.
    followers: Vec<usize>,
    last: usize,
}

impl Keys {
    /// The code of a key.
    #[inline]
    pub fn code(&mut self, key: &[u8]) -> i32 {
        let guess = self.followers.get(self.last).copied().unwrap_or(0);
        let code = match self.raw.get(guess) {
            Some(found) if **found == *key => guess,
            _ => self.look_up(key),
        };
        self.last = code;
        index(code)
    }

    fn look_up(&mut self, key: &[u8]) -> usize {
        let code = match self.codes.get(key) {
            Some(code) => usize::try_from(*code).unwrap_or(0),
            None => self.add(key),
        };
        if let Some(follower) = self.followers.get_mut(self.last) {
            *follower = code;
        }
        code
    }

    fn add(&mut self, key: &[u8]) -> usize {
        let (code, key) = (self.raw.len(), Arc::<[u8]>::from(key));
        self.codes.insert(Arc::clone(&key), index(code));
        self.texts.push(&key);
        self.raw.push(key);
        self.followers.push(0);
        code
    }

    /// Number of different keys.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Forgets the keys that came after the first `length`.
    pub fn truncate(&mut self, length: usize) {
        for key in self.raw.drain(length.min(self.raw.len())..) {
            self.codes.remove(&key);
        }
        self.texts.truncate(length);
        self.followers.truncate(length);
    }

    /// Appends the buffers of the keys' text.
    pub fn give(&mut self, buffers: &mut Vec<Buffer>) {
        self.texts.give(buffers);
    }

    /// Whether their text is longer than its offsets can say.
    pub fn is_too_long(&self) -> bool {
        self.texts.is_too_long()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key has one code, whatever came before it, and a forgotten key's code is given out again.
    #[test]
    fn codes() {
        let mut keys = Keys::default();
        let codes = |keys: &mut Keys, all: &[&[u8]]| all.iter().map(|key| keys.code(key)).collect::<Vec<_>>();
        assert_eq!(codes(&mut keys, &[b"a", b"b", b"a", b"b", b"c", b"a", b"c", b""]), [0, 1, 0, 1, 2, 0, 2, 3]);
        keys.truncate(1);
        assert_eq!(codes(&mut keys, &[b"c", b"a", b"b", b"c"]), [1, 0, 2, 1]);
        assert_eq!(keys.len(), 3);
    }
}
