//! A scope, a span and a link, without what they hold in tables of their own.

use crate::any_value::low_bits;
use crate::attributes::Attributes;
use crate::wire::{Depth, Malformed, Value, fields};

const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;

/// The fields of an `InstrumentationScope` but its attributes, and the schema of what it holds.
#[derive(Default)]
#[allow(missing_docs)] // named as in OTLP
pub struct Scope<'a> {
    pub name: &'a [u8],
    pub version: &'a [u8],
    pub schema_url: &'a [u8],
    pub dropped_attributes_count: u32,
}

/// The fields of a `Span` that are no tables of their own.
#[derive(Default)]
#[allow(clippy::struct_field_names, missing_docs)] // named as in OTLP
pub struct Span<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub parent_span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub flags: u32,
    pub name: &'a [u8],
    pub kind: i32,
    pub start_time_unix_nano: u64,
    pub end_time_unix_nano: u64,
    pub dropped_attributes_count: u32,
    pub dropped_events_count: u32,
    pub dropped_links_count: u32,
    pub status_code: i32,
    pub status_message: &'a [u8],
}

impl<'a> Span<'a> {
    /// Reads a message of this depth.
    pub fn read(message: &'a [u8], depth: Depth) -> Result<Self, Malformed> {
        let mut span = Self::default();
        fields(message, depth, |(number, value)| match value {
            Value::Bytes(bytes) => span.set_bytes(number, bytes, depth),
            Value::Number(bits) => set_number(number, &mut span, low_bits(bits)),
            Value::Fixed64(bits) => match number {
                7 => set(&mut span.start_time_unix_nano, bits),
                8 => set(&mut span.end_time_unix_nano, bits),
                _ => Ok(()),
            },
            Value::Fixed32(bits) if number == 16 => set(&mut span.flags, bits),
            Value::Fixed32(_) => Ok(()),
        })?;
        Ok(span)
    }

    #[inline]
    fn set_bytes(&mut self, number: u32, bytes: &'a [u8], depth: Depth) -> Result<(), Malformed> {
        match number {
            1 => self.trace_id = bytes,
            2 => self.span_id = bytes,
            3 => self.trace_state = bytes,
            4 => self.parent_span_id = bytes,
            5 => self.name = bytes,
            15 => self.read_status(bytes, depth)?,
            _ => {}
        }
        Ok(())
    }

    fn read_status(&mut self, status: &'a [u8], outer: Depth) -> Result<(), Malformed> {
        fields(status, outer.deeper()?, |field| match field {
            (2, Value::Bytes(text)) => set(&mut self.status_message, text),
            (3, Value::Number(bits)) => set(&mut self.status_code, low_bits(bits).cast_signed()),
            _ => Ok(()),
        })
    }

    /// Whether it can be stored: `span_problem` in `otlp_receiver/decode/rejections.py` says why not.
    pub fn is_usable(&self) -> bool {
        let is_id = |id: &[u8], bytes| id.len() == bytes && has_id(id);
        let no_parent = !has_id(self.parent_span_id);
        is_id(self.trace_id, TRACE_ID_BYTES)
            && is_id(self.span_id, SPAN_ID_BYTES)
            && (no_parent || self.parent_span_id.len() == SPAN_ID_BYTES)
    }
}

/// The fields of a `Span.Link` but its attributes.
#[derive(Default)]
#[allow(missing_docs)] // named as in OTLP
pub struct Link<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub flags: u32,
    pub dropped_attributes_count: u32,
}

impl<'a> Link<'a> {
    /// Reads a message of this depth; its attributes go to the table.
    pub fn read(message: &'a [u8], depth: Depth, attributes: &mut Attributes) -> Result<Self, Malformed> {
        let mut link = Self::default();
        attributes.open();
        fields(message, depth, |field| match field {
            (1, Value::Bytes(bytes)) => set(&mut link.trace_id, bytes),
            (2, Value::Bytes(bytes)) => set(&mut link.span_id, bytes),
            (3, Value::Bytes(text)) => set(&mut link.trace_state, text),
            (4, Value::Bytes(pair)) => attributes.push(pair, depth),
            (5, Value::Number(bits)) => set(&mut link.dropped_attributes_count, low_bits(bits)),
            (6, Value::Fixed32(bits)) => set(&mut link.flags, bits),
            _ => Ok(()),
        })?;
        Ok(link)
    }
}

/// An assignment as the last expression of an arm.
#[inline]
#[allow(clippy::unnecessary_wraps)] // its arm must have the type of the arms that can fail
pub fn set<T>(place: &mut T, value: T) -> Result<(), Malformed> {
    *place = value;
    Ok(())
}

#[inline]
fn set_number(number: u32, span: &mut Span, bits: u32) -> Result<(), Malformed> {
    match number {
        6 => set(&mut span.kind, bits.cast_signed()),
        10 => set(&mut span.dropped_attributes_count, bits),
        12 => set(&mut span.dropped_events_count, bits),
        14 => set(&mut span.dropped_links_count, bits),
        _ => Ok(()),
    }
}

/// An id of zeros, or of no bytes, says "no id" (OTLP, trace.proto).
pub fn has_id(id: &[u8]) -> bool {
    id.iter().any(|byte| *byte != 0)
}
