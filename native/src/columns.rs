//! Growing Arrow columns: values, or text as offsets and bytes, none of them null.

use std::mem;

/// One Arrow buffer, to be handed over.
#[derive(Debug)]
pub enum Buffer {
    /// Types, and bytes of text.
    U8(Vec<u8>),
    /// Row numbers, offsets, enums.
    I32(Vec<i32>),
    /// Counts and flags.
    U32(Vec<u32>),
    /// Times.
    U64(Vec<u64>),
}

/// A column that can forget its last rows and give away its buffers.
pub trait Column {
    /// Forgets what came after the first `rows`.
    fn truncate(&mut self, rows: usize);
    /// Appends its buffers in the order of the Arrow format, without the one for nulls, and is empty after it.
    fn give(&mut self, buffers: &mut Vec<Buffer>);
    /// Whether it is longer than its offsets can say.
    fn is_too_long(&self) -> bool {
        false
    }
}

macro_rules! plain_column {
    ($type:ty, $variant:ident) => {
        impl Column for Vec<$type> {
            fn truncate(&mut self, rows: usize) {
                Vec::truncate(self, rows);
            }
            fn give(&mut self, buffers: &mut Vec<Buffer>) {
                buffers.push(Buffer::$variant(mem::take(self)));
            }
        }
    };
}

plain_column!(u8, U8);
plain_column!(i32, I32);
plain_column!(u32, U32);
plain_column!(u64, U64);

/// A number of rows or bytes as Arrow has it; the largest there is when it is too large, see `is_too_long`.
#[inline]
pub fn index(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A column of UTF-8.
pub struct Text {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Default for Text {
    fn default() -> Self {
        Self { offsets: vec![0], data: vec![] }
    }
}

impl Text {
    /// Appends one text; what is not UTF-8 becomes U+FFFD.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.push_with(|data| append_utf8(data, text));
    }

    /// Appends bytes as lower-case hexadecimal digits.
    #[inline]
    pub fn push_hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        self.push_with(|data| data.extend(bytes.iter().flat_map(digits)));
    }

    /// Appends one text that is written by `write`, which must write UTF-8, at the end of what it is given.
    #[inline]
    pub fn push_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let written = write(&mut self.data);
        self.offsets.push(index(self.data.len()));
        written
    }

    /// Makes room for so many bytes more; memory that is never written to is none.
    pub fn reserve(&mut self, bytes: usize) {
        self.data.reserve(bytes);
    }

    /// What was written behind the first so many bytes.
    pub fn since(&self, size: usize) -> &[u8] {
        &self.data[size..]
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.data.len()
    }
}

impl Column for Text {
    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
    }

    fn give(&mut self, buffers: &mut Vec<Buffer>) {
        let Self { offsets, data } = mem::take(self);
        buffers.extend([Buffer::I32(offsets), Buffer::U8(data)]);
    }

    fn is_too_long(&self) -> bool {
        i32::try_from(self.data.len()).is_err()
    }
}

/// Appends text; what is not UTF-8 becomes U+FFFD, one for each longest piece of a character, as Python does it.
#[inline]
pub fn append_utf8(data: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(_) => data.extend_from_slice(text),
        Err(_) => data.extend_from_slice(String::from_utf8_lossy(text).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that are forgotten leave the text before them, and what is pushed then follows it.
    #[test]
    fn truncated_text() {
        let mut text = Text::default();
        text.push(b"one");
        text.push(b"two");
        text.truncate(1);
        text.push(b"\xED\xA0\xBD");
        text.push_hex(&[0x0F, 0xA0]);
        assert_eq!(text.offsets, [0, 3, 12, 16]);
        assert_eq!(text.data, "one\u{FFFD}\u{FFFD}\u{FFFD}0fa0".as_bytes());
        text.truncate(0);
        assert_eq!((text.offsets.as_slice(), text.data.as_slice()), (&[0][..], &[][..]));
    }
}
