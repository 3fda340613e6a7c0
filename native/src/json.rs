//! Arrays and maps as JSON, spelled as orjson does.

use std::collections::HashMap;
use std::io::Write;

use crate::any_value::Held;
use crate::kinds::Kind;
use crate::wire::{Depth, Malformed, Pieces, Value, fields};
use crate::{base64, check, numbers};

/// Appends what an `AnyValue` inside a message of depth `outer` holds.
pub fn append(out: &mut Vec<u8>, held: &Held, outer: Depth) -> Result<(), Malformed> {
    match held {
        Held::Empty => out.extend_from_slice(b"null"),
        Held::Text(text) => append_string(out, &String::from_utf8_lossy(text)),
        Held::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Held::Integer(value) => numbers::append_integer(out, *value),
        Held::Double(value) => numbers::append_json(out, *value),
        Held::Array(pieces) => append_array(out, pieces, outer.deeper()?)?,
        Held::Map(pieces) => append_map(out, pieces, outer.deeper()?)?,
        Held::Bytes(bytes) => {
            out.push(b'"');
            base64::append(out, bytes);
            out.push(b'"');
        }
        Held::TextNumber(number) => numbers::append_integer(out, i64::from(*number)),
    }
    Ok(())
}

/// `outer` is the depth of the `AnyValue` around it.
fn append_array(out: &mut Vec<u8>, array: &Pieces, outer: Depth) -> Result<(), Malformed> {
    let mut before = b'[';
    array.fields(outer, |depth, field| {
        if let (1, Value::Bytes(item)) = field {
            out.push(before);
            before = b',';
            append(out, &Held::read(&Pieces::one(item), depth)?, depth)?;
        }
        Ok::<_, Malformed>(())
    })?;
    close(out, before, *b"[]");
    Ok(())
}

/// The last bracket; the first one too when nothing stands between.
pub fn close(out: &mut Vec<u8>, before: u8, [open, close]: [u8; 2]) {
    if before == open {
        out.push(open);
    }
    out.push(close);
}

/// A key twice keeps its first place and its last value.
fn append_map(out: &mut Vec<u8>, map: &Pieces, outer: Depth) -> Result<(), Malformed> {
    let mut entries = Entries::default();
    map.fields(outer, |depth, field| match field {
        (1, Value::Bytes(pair)) => entries.add(pair, depth),
        _ => Ok::<_, Malformed>(()),
    })?;
    let mut before = b'{';
    for entry in entries.in_order {
        out.push(before);
        before = b',';
        append_string(out, &entry.key);
        out.push(b':');
        append(out, &Held::read(&entry.value, entry.depth)?, entry.depth)?;
    }
    close(out, before, *b"{}");
    Ok(())
}

struct Entry<'a> {
    key: String,
    value: Pieces<'a>,
    /// Of the `KeyValue`.
    depth: Depth,
}

#[derive(Default)]
struct Entries<'a> {
    in_order: Vec<Entry<'a>>,
    places: HashMap<String, usize>,
}

impl<'a> Entries<'a> {
    fn add(&mut self, pair: &'a [u8], outer: Depth) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let (key, value) = key_and_value(pair, depth)?;
        let key = String::from_utf8_lossy(key).into_owned();
        if let Some(place) = self.places.get(&key) {
            let old = std::mem::replace(&mut self.in_order[*place].value, value);
            return check::pieces(Kind::AnyValue, &old, depth);
        }
        self.places.insert(key.clone(), self.in_order.len());
        self.in_order.push(Entry { key, value, depth });
        Ok(())
    }
}

/// The two fields of a `KeyValue` of this depth.
#[inline]
pub fn key_and_value(pair: &[u8], depth: Depth) -> Result<(&[u8], Pieces<'_>), Malformed> {
    let (mut key, mut value) = (&[][..], Pieces::default());
    fields(pair, depth, |field| {
        match field {
            (1, Value::Bytes(text)) => key = text,
            (2, Value::Bytes(piece)) => value.push(piece),
            _ => {}
        }
        Ok::<_, Malformed>(())
    })?;
    Ok((key, value))
}

/// Appends text in quotes.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..place]);
        append_escape(out, rest[place]);
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn append_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend([b'\\', byte]),
        0x08 => out.extend_from_slice(b"\\b"),
        0x09 => out.extend_from_slice(b"\\t"),
        0x0A => out.extend_from_slice(b"\\n"),
        0x0C => out.extend_from_slice(b"\\f"),
        0x0D => out.extend_from_slice(b"\\r"),
        _ => drop(write!(out, "\\u{byte:04x}")), // a Vec takes whatever is written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &[u8]) -> Result<String, Malformed> {
        let (value, mut out) = (Pieces::one(value), vec![]);
        append(&mut out, &Held::read(&value, Depth::OUTERMOST)?, Depth::OUTERMOST)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Strings are escaped as orjson escapes them, and what is not UTF-8 is replaced.
    #[test]
    fn strings() {
        assert_eq!(text(b"\x0a\x07\"\\\x00\n\x1f\x7f\xff").as_deref(), Ok("\"\\\"\\\\\\u0000\\n\\u001f\x7f\u{FFFD}\""));
    }

    /// Empty arrays and maps, and a key that comes twice.
    #[test]
    fn arrays_and_maps() {
        assert_eq!(text(&[0x2A, 0]).as_deref(), Ok("[]"));
        assert_eq!(text(&[0x32, 0]).as_deref(), Ok("{}"));
        assert_eq!(text(&[0x2A, 6, 0x0A, 2, 0x18, 7, 0x0A, 0]).as_deref(), Ok("[7,null]"));
        let pair = |key: u8, value: u8| [0x0A, 7, 0x0A, 1, key, 0x12, 2, 0x18, value];
        let map = [pair(b'a', 1), pair(b'b', 2), pair(b'a', 3)].concat();
        assert_eq!(text(&[&[0x32, 27][..], &map].concat()).as_deref(), Ok("{\"a\":3,\"b\":2}"));
    }

    /// What a later field of the value, or a later value of the key, takes the place of must be well-formed.
    #[test]
    fn replaced_values() {
        assert_eq!(text(&[0x2A, 2, 0x0A, 0, 0x18, 5]).as_deref(), Ok("5"));
        assert_eq!(text(&[0x2A, 2, 0x0A, 9, 0x18, 5]), Err(Malformed::Corrupt));
        assert_eq!(text(&[0x32, 8, 0x0A, 4, 0x12, 2, 0x2A, 9, 0x0A, 0]), Err(Malformed::Corrupt));
    }
}
