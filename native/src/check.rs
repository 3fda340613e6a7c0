//! Reads a message to its end and keeps nothing: what is left out of the table must be well-formed all the same.

use crate::kinds::{Kind, Part};
use crate::wire::{Depth, Malformed, Pieces, Value, fields};

/// A whole request.
pub fn request(body: &[u8]) -> Result<(), Malformed> {
    message(Kind::Request, body, Depth::OUTERMOST)
}

/// A message, in pieces, inside one of depth `outer`.
pub fn pieces(kind: Kind, pieces: &Pieces, outer: Depth) -> Result<(), Malformed> {
    pieces.iter().try_for_each(|piece| inner(kind, piece, outer))
}

/// A message inside one of depth `outer`.
pub fn inner(kind: Kind, bytes: &[u8], outer: Depth) -> Result<(), Malformed> {
    message(kind, bytes, outer.deeper()?)
}

fn message(kind: Kind, bytes: &[u8], depth: Depth) -> Result<(), Malformed> {
    fields(bytes, depth, |(number, value)| match (value, kind.part(number)) {
        (Value::Bytes(found), Some(Part::Message(part))) => inner(part, found, depth),
        _ => Ok(()),
    })
}
