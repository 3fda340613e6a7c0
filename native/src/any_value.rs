//! `AnyValue`: its kind, and the text that stands for it.

use crate::kinds::Kind;
use crate::wire::{Depth, Malformed, Pieces, Value};
use crate::{base64, check, json, numbers};

/// What an `AnyValue` holds: the last of its fields that was sent.
#[derive(Clone, Default)]
pub enum Held<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// Text.
    Text(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// An `ArrayValue`.
    Array(Pieces<'a>),
    /// A `KeyValueList`.
    Map(Pieces<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The number of a text in a table that this signal has none of.
    TextNumber(i32),
}

impl<'a> Held<'a> {
    /// Reads an `AnyValue` inside a message of depth `outer`; the depth is that of the value itself.
    #[inline]
    pub fn read(value: &Pieces<'a>, outer: Depth) -> Result<Self, Malformed> {
        if let Some(text) = value.only_text() {
            return outer.deeper().map(|_| Self::Text(text));
        }
        let mut held = Self::Empty;
        value.fields(outer, |depth, (number, value)| match (number, value) {
            (1, Value::Bytes(text)) => held.replace(Self::Text(text), depth),
            (2, Value::Number(bits)) => held.replace(Self::Bool(bits != 0), depth),
            (3, Value::Number(bits)) => held.replace(Self::Integer(bits.cast_signed()), depth),
            (4, Value::Fixed64(bits)) => held.replace(Self::Double(f64::from_bits(bits)), depth),
            (5, Value::Bytes(piece)) => held.add_to_array(piece, depth),
            (6, Value::Bytes(piece)) => held.add_to_map(piece, depth),
            (7, Value::Bytes(bytes)) => held.replace(Self::Bytes(bytes), depth),
            (8, Value::Number(bits)) => held.replace(Self::TextNumber(low_bits(bits).cast_signed()), depth),
            _ => Ok(()),
        })?;
        Ok(held)
    }

    /// Holds something else; what is let go must have been well-formed.
    #[inline]
    fn replace(&mut self, new: Self, depth: Depth) -> Result<(), Malformed> {
        match self {
            Self::Array(old) => check::pieces(Kind::ArrayValue, old, depth)?,
            Self::Map(old) => check::pieces(Kind::KeyValueList, old, depth)?,
            _ => {}
        }
        *self = new;
        Ok(())
    }

    /// An array after an array continues it.
    fn add_to_array(&mut self, piece: &'a [u8], depth: Depth) -> Result<(), Malformed> {
        if let Self::Array(pieces) = self {
            pieces.push(piece);
            return Ok(());
        }
        self.replace(Self::Array(Pieces::one(piece)), depth)
    }

    /// A map after a map continues it.
    fn add_to_map(&mut self, piece: &'a [u8], depth: Depth) -> Result<(), Malformed> {
        if let Self::Map(pieces) = self {
            pieces.push(piece);
            return Ok(());
        }
        self.replace(Self::Map(Pieces::one(piece)), depth)
    }

    /// The number of its kind in the column `type`.
    #[inline]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Empty | Self::TextNumber(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Integer(_) => 3,
            Self::Double(_) => 4,
            Self::Array(_) => 5,
            Self::Map(_) => 6,
            Self::Bytes(_) => 7,
        }
    }

    /// Appends its text; `outer` is as in `read`.
    #[inline]
    pub fn append_text(&self, out: &mut Vec<u8>, outer: Depth) -> Result<(), Malformed> {
        match self {
            Self::Empty | Self::TextNumber(_) => {}
            Self::Text(text) => crate::columns::append_utf8(out, text),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Integer(value) => numbers::append_integer(out, *value),
            Self::Double(value) => numbers::append_repr(out, *value),
            Self::Array(_) | Self::Map(_) => json::append(out, self, outer)?,
            Self::Bytes(bytes) => base64::append(out, bytes),
        }
        Ok(())
    }
}

/// The low half of a number, as protobuf reads its 32-bit types.
#[inline]
pub fn low_bits(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)
}
