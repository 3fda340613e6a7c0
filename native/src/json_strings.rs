//! Strings of a JSON text: where they end, and what they say.

use std::borrow::Cow;

use crate::declined::Declined;

/// Long strings are gone through in chunks of this size.
const CHUNK_BYTES: usize = 32;

/// What stands between two quotes, well-formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// As sent.
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> Quoted<'a> {
    /// The string at the start of a text that follows its first quote, and its length up to the last one.
    #[inline]
    pub fn read(text: &'a str) -> Result<(Self, usize), Declined> {
        let (bytes, mut end, mut has_escapes) = (text.as_bytes(), 0, false);
        loop {
            end += plain_bytes(&bytes[end..]);
            match bytes.get(end) {
                Some(b'"') => return Ok((Self { raw: &text[..end], has_escapes }, end)),
                Some(b'\\') => end += escape_bytes(&bytes[end..])?,
                _ => return Err(Declined),
            }
            has_escapes = true;
        }
    }

    /// As sent, when that is what it says.
    #[inline]
    pub fn as_sent(&self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.raw)
    }

    /// What it says.
    #[inline]
    pub fn text(&self) -> Cow<'a, str> {
        self.as_sent().map_or_else(|| Cow::Owned(unescaped(self.raw)), Cow::Borrowed)
    }

    /// Appends what it says.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.as_sent() {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => append_unescaped(out, self.raw),
        }
    }
}

/// Bytes before the first that no string has as it is: a quote, a backslash, a control character.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut place = 0;
    while let Some(eight) = bytes[place..].first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return place + found.trailing_zeros() as usize / 8;
        }
        place += 8;
        if place == CHUNK_BYTES {
            place += many_plain_bytes(&bytes[place..]);
        }
    }
    place + bytes[place..].iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len() - place)
}

/// The same in long text, rounded down to chunks that the compiler compares at once.
fn many_plain_bytes(bytes: &[u8]) -> usize {
    let specials = |chunk: &[u8]| chunk.iter().fold(0, |found, byte| found | u8::from(is_special(*byte)));
    CHUNK_BYTES * bytes.chunks_exact(CHUNK_BYTES).take_while(|chunk| specials(chunk) == 0).count()
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// The highest bit of every such byte in eight of them, exact up to the first.
#[inline]
fn special(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let below = |bytes: u64, bound: u8| bytes.wrapping_sub(ONES * u64::from(bound)) & !bytes;
    let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (below(eight, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7)
}

/// Length of the escape at the start.
#[inline]
fn escape_bytes(bytes: &[u8]) -> Result<usize, Declined> {
    match bytes {
        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [_, b'u', digits @ ..] => code_unit(digits).map(|_| 6).ok_or(Declined),
        _ => Err(Declined),
    }
}

/// The number that four hexadecimal digits say.
fn code_unit(digits: &[u8]) -> Option<u32> {
    let four = digits.first_chunk::<4>()?;
    four.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

fn unescaped(raw: &str) -> String {
    let mut out = Vec::with_capacity(raw.len());
    append_unescaped(&mut out, raw);
    String::from_utf8_lossy(&out).into_owned()
}

fn append_unescaped(out: &mut Vec<u8>, raw: &str) {
    let mut rest = raw.as_bytes();
    out.reserve(rest.len());
    loop {
        let (plain, escape) = rest.split_at(plain_bytes(rest));
        out.extend_from_slice(plain);
        let (&[_, kind, ..], Some(after)) = (escape, escape.get(2..)) else { return };
        rest = after;
        match kind {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0C),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => rest = append_code_unit(out, after),
            itself => out.push(itself),
        }
    }
}

/// Appends what follows `\u`, or the pair that begins there, and says what is left; half a pair becomes U+FFFD.
fn append_code_unit<'r>(out: &mut Vec<u8>, digits: &'r [u8]) -> &'r [u8] {
    let (first, rest) = (code_unit(digits).unwrap_or(0), &digits[4..]);
    let (number, rest) = match second_half(first, rest) {
        Some(second) => (0x1_0000 + (first - 0xD800) * 0x400 + (second - 0xDC00), &rest[6..]),
        None => (first, rest),
    };
    let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The second half of a surrogate pair, when that is what comes next.
fn second_half(first: u32, rest: &[u8]) -> Option<u32> {
    let (0xD800..0xDC00, [b'\\', b'u', digits @ ..]) = (first, rest) else { return None };
    code_unit(digits).filter(|unit| (0xDC00..0xE000).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(quoted: &str) -> Result<String, Declined> {
        let (found, length) = Quoted::read(quoted)?;
        assert_eq!(quoted.as_bytes()[length], b'"');
        let mut out = vec![];
        found.append_to(&mut out);
        assert_eq!(found.text().as_bytes(), out);
        Ok(found.text().into_owned())
    }

    /// Every escape says what it stands for, and half a surrogate pair U+FFFD.
    #[test]
    fn escapes() {
        for (quoted, expected) in [
            ("\"", ""),
            ("plain text of more than eight bytes\" behind", "plain text of more than eight bytes"),
            (r#"\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#"eight by\u00e9\u0000""#, "eight byé\0"),
            (r#"\ud83d\ude00 \uD83D\uDE00""#, "😀 😀"),
            (r#"\ud83d""#, "\u{FFFD}"),
            (r#"\ud83d\ud83d\ude00x""#, "\u{FFFD}😀x"),
            (r#"\ude00\ud83d\n""#, "\u{FFFD}\u{FFFD}\n"),
            (r#"\ud83d\u0041""#, "\u{FFFD}A"),
        ] {
            assert_eq!(text(quoted).as_deref(), Ok(expected), "{quoted}");
        }
    }

    /// Strings that do not end, unknown escapes and bare control characters are left to the other decoder.
    #[test]
    fn declined() {
        for quoted in ["", "no end", "\\", "\\\"", r#"\x""#, r#"\u12""#, r#"\u12g4""#, "tab\t\"", "12345678\n\""] {
            assert_eq!(text(quoted), Err(Declined), "{quoted}");
        }
    }

    /// A special byte is found at every place, beside any other byte.
    #[test]
    fn places_of_special_bytes() {
        for (length, byte) in (0..110).flat_map(|length| (0..=255).map(move |byte| (length, byte))) {
            let bytes = [vec![0x80; length], vec![byte, b'a', b'"', 0x1F, b'\\']].concat();
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            assert_eq!(plain_bytes(&bytes), if is_special { length } else { length + 2 }, "{byte} at {length}");
        }
    }
}
