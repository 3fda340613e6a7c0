//! The attribute tables.

use crate::any_value::Held;
use crate::columns::{Buffer, Column, Text, index};
use crate::json::key_and_value;
use crate::keys::Keys;
use crate::wire::{Depth, Malformed};

/// A table of attributes; `open` an owner before its attributes are pushed.
#[derive(Default)]
pub struct Attributes {
    owners: usize,
    owner: Vec<i32>,
    keys: Keys,
    key: Vec<i32>,
    kind: Vec<u8>,
    value: Text,
    /// Bytes of the keys and values of the last owner as sent.
    sent_bytes: u64,
}

/// Where a table ended.
#[derive(Clone, Copy)]
pub struct Mark {
    owners: usize,
    rows: usize,
    keys: usize,
}

impl Attributes {
    /// Makes room for values of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.value.reserve(bytes);
    }

    /// One more owner.
    #[inline]
    pub fn open(&mut self) {
        self.owners += 1;
        self.sent_bytes = 0;
    }

    /// One more attribute of the last owner, from a `KeyValue` inside a message of depth `outer`.
    #[inline]
    pub fn push(&mut self, pair: &[u8], outer: Depth) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let (key, value) = key_and_value(pair, depth)?;
        let held = Held::read(&value, depth)?;
        let written = self.push_value(key, held.kind(), |out| held.append_text(out, depth))?.len();
        let value_bytes = if let Held::Text(text) = held { text.len() } else { written };
        self.add_sent(key.len() + value_bytes);
        Ok(())
    }

    /// One more attribute of the last owner, its text written by `write` as `Text::push_with` has it; says that text.
    #[inline]
    pub fn push_value<E>(
        &mut self,
        key: &[u8],
        kind: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<&[u8], E> {
        let before = self.value.size();
        self.value.push_with(write)?;
        self.owner.push(index(self.owners - 1));
        self.key.push(self.keys.code(key));
        self.kind.push(kind);
        Ok(self.value.since(before))
    }

    /// Counts what the last owner's attributes take, as sent.
    #[inline]
    pub fn add_sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// Bytes of the keys and values of the last owner, as sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Number of attributes.
    pub fn rows(&self) -> usize {
        self.owner.len()
    }

    /// Length of all that grows, as the Python decoder measures it.
    pub fn entries(&self) -> usize {
        self.owners + 3 * self.rows() + self.keys.len()
    }

    /// Where the table ends now.
    pub fn mark(&self) -> Mark {
        Mark { owners: self.owners, rows: self.rows(), keys: self.keys.len() }
    }

    /// Forgets what came after a mark.
    pub fn roll_back(&mut self, mark: Mark) {
        self.owners = mark.owners;
        self.owner.truncate(mark.rows);
        self.key.truncate(mark.rows);
        self.kind.truncate(mark.rows);
        self.value.truncate(mark.rows);
        self.keys.truncate(mark.keys);
    }

    /// Whether a column of text is longer than its offsets can say.
    pub fn is_too_long(&self) -> bool {
        self.value.is_too_long() || self.keys.is_too_long()
    }

    /// Its buffers: owner, key (codes), the keys, type, value.
    pub fn give(&mut self) -> Vec<Buffer> {
        let mut buffers = vec![];
        self.owner.give(&mut buffers);
        self.key.give(&mut buffers);
        self.keys.give(&mut buffers);
        self.kind.give(&mut buffers);
        self.value.give(&mut buffers);
        buffers
    }
}
