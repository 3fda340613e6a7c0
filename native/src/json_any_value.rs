//! `AnyValue` inside OTLP/JSON: its kind, and the text that stands for it.

use std::collections::HashMap;

use crate::declined::{Declined, Done};
use crate::json::{append_string, close};
use crate::json_nodes::{Node, Value};
use crate::json_strings::Quoted;
use crate::json_values::{KEY_VALUE, Maybe, Names, each_field, fields, items, not_null, text, whole};
use crate::{base64, numbers};

/// The fields of an `AnyValue`, each with the number of its kind in the column `type`.
const KINDS: [(Names, u8); 7] = [
    (&["stringValue", "string_value"], 1),
    (&["intValue", "int_value"], 3),
    (&["boolValue", "bool_value"], 2),
    (&["doubleValue", "double_value"], 4),
    (&["arrayValue", "array_value"], 5),
    (&["kvlistValue", "kvlist_value"], 6),
    (&["bytesValue", "bytes_value"], 7),
];
const VALUES: [Names; 1] = [&["values"]];

/// What an `AnyValue` holds.
#[derive(Clone, Copy, Debug)]
pub enum Held<'n, 'a> {
    /// Nothing.
    Empty,
    /// Text.
    Text(Quoted<'a>),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// An `ArrayValue`: the array inside it.
    Array(Maybe<'n, 'a>),
    /// A `KeyValueList`: the array inside it.
    Map(Maybe<'n, 'a>),
    /// Bytes, in base64.
    Bytes(&'a str),
}

impl<'n, 'a> Held<'n, 'a> {
    /// Reads an `AnyValue` that has one known field at most.
    #[inline]
    pub fn read(value: Maybe<'n, 'a>) -> Result<Self, Declined> {
        let mut held = None;
        each_field(value, |key, value| {
            let Some((_, kind)) = KINDS.iter().find(|(names, _)| names.contains(&key)) else { return Ok(()) };
            let read = not_null(value).map_or(Ok(Self::Empty), |value| Self::of_kind(*kind, value));
            if held.replace(read?).is_some() { Err(Declined) } else { Ok(()) }
        })?;
        Ok(held.unwrap_or(Self::Empty))
    }

    #[inline]
    fn of_kind(kind: u8, value: Value<'n, 'a>) -> Result<Self, Declined> {
        match (kind, value.node()) {
            (1, Node::Text(text)) => Ok(Self::Text(*text)),
            (2, Node::Bool(value)) => Ok(Self::Bool(*value)),
            (3, Node::Double(value)) => Ok(integer_of(*value).map_or(Self::Double(*value), Self::Integer)),
            (3, _) => i64::try_from(whole(Some(value))?).map(Self::Integer).or(Err(Declined)),
            (4, node) => double_of(node).map(Self::Double),
            (5, Node::Object(_)) => fields(Some(value), &VALUES).map(|[values]| Self::Array(values)),
            (6, Node::Object(_)) => fields(Some(value), &VALUES).map(|[values]| Self::Map(values)),
            (7, Node::Text(text)) => digits_of(*text).map(Self::Bytes),
            _ => Err(Declined),
        }
    }

    /// The number of its kind in the column `type`.
    #[inline]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Integer(_) => 3,
            Self::Double(_) => 4,
            Self::Array(_) => 5,
            Self::Map(_) => 6,
            Self::Bytes(_) => 7,
        }
    }

    /// Appends its text.
    #[inline]
    pub fn append_text(&self, out: &mut Vec<u8>) -> Done {
        match self {
            Self::Empty => {}
            Self::Text(text) => text.append_to(out),
            Self::Double(value) => numbers::append_repr(out, *value),
            Self::Bytes(digits) => out.extend_from_slice(digits.as_bytes()),
            Self::Bool(_) | Self::Integer(_) | Self::Array(_) | Self::Map(_) => self.append_json(out)?,
        }
        Ok(())
    }

    /// Appends it as JSON.
    fn append_json(&self, out: &mut Vec<u8>) -> Done {
        match self {
            Self::Empty => out.extend_from_slice(b"null"),
            Self::Text(text) => append_string(out, &text.text()),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Integer(value) => numbers::append_integer(out, *value),
            Self::Double(value) => numbers::append_json(out, *value),
            Self::Array(values) => append_array(out, *values)?,
            Self::Map(pairs) => append_map(out, *pairs)?,
            Self::Bytes(digits) => append_string(out, digits),
        }
        Ok(())
    }
}

/// JavaScript sends every whole double as an integer: what 64 bits can hold is one.
fn integer_of(value: f64) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    #[allow(clippy::cast_possible_truncation)] // the range was looked at
    (value.fract() == 0.0 && (-END..END).contains(&value)).then_some(value as i64)
}

fn double_of(node: &Node) -> Result<f64, Declined> {
    match node {
        Node::Double(value) => Ok(*value),
        #[allow(clippy::cast_precision_loss)] // a double is what was asked for
        Node::Integer(value) => Ok(*value as f64),
        Node::Text(text) => match text.as_sent() {
            Some("NaN") => Ok(f64::NAN),
            Some("Infinity") => Ok(f64::INFINITY),
            Some("-Infinity") => Ok(f64::NEG_INFINITY),
            _ => Err(Declined),
        },
        _ => Err(Declined),
    }
}

/// Base64 that is spelled as we would.
fn digits_of(text: Quoted<'_>) -> Result<&str, Declined> {
    text.as_sent().filter(|digits| base64::is_canonical(digits.as_bytes())).ok_or(Declined)
}

fn append_array(out: &mut Vec<u8>, values: Maybe) -> Done {
    let mut before = b'[';
    for item in items(values)? {
        out.push(before);
        before = b',';
        Held::read(item)?.append_json(out)?;
    }
    close(out, before, *b"[]");
    Ok(())
}

/// A key twice keeps its first place and its last value.
fn append_map(out: &mut Vec<u8>, pairs: Maybe) -> Done {
    let (mut in_order, mut places) = (vec![], HashMap::new());
    for pair in items(pairs)? {
        let [key, value] = fields(Some(pair.ok_or(Declined)?), &KEY_VALUE)?;
        let (key, value) = (text(key)?.text(), Held::read(value)?);
        let place = *places.entry(key.clone()).or_insert(in_order.len());
        if place < in_order.len() {
            in_order[place] = (key, value);
        } else {
            in_order.push((key, value));
        }
    }
    let mut before = b'{';
    for (key, value) in in_order {
        out.push(before);
        before = b',';
        append_string(out, &key);
        out.push(b':');
        value.append_json(out)?;
    }
    close(out, before, *b"{}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_nodes::Nodes;

    /// Kind and text of an `AnyValue`.
    fn read(json: &str) -> Result<(u8, String), Declined> {
        let (mut nodes, mut out) = (Nodes::default(), vec![]);
        let held = Held::read(not_null(nodes.read(json.as_bytes(), 100)?))?;
        held.append_text(&mut out)?;
        Ok((held.kind(), String::from_utf8_lossy(&out).into_owned()))
    }

    /// Every kind in the spellings that are read here.
    #[test]
    fn every_kind() {
        for (json, kind, text) in [
            ("null", 0, ""),
            ("{}", 0, ""),
            (r#"{"stringValue":null,"other":1}"#, 0, ""),
            (r#"{"stringValue":"a\"b"}"#, 1, "a\"b"),
            (r#"{"bool_value":true}"#, 2, "true"),
            (r#"{"intValue":-5}"#, 3, "-5"),
            (r#"{"intValue":"9223372036854775807"}"#, 3, "9223372036854775807"),
            (r#"{"intValue":1e3}"#, 3, "1000"),
            (r#"{"intValue":{"low":1,"high":1,"unsigned":false}}"#, 3, "4294967297"),
            (r#"{"intValue":1.5e+300}"#, 4, "1.5e+300"),
            (r#"{"doubleValue":5}"#, 4, "5.0"),
            (r#"{"doubleValue":"-Infinity"}"#, 4, "-Infinity"),
            (r#"{"arrayValue":{}}"#, 5, "[]"),
            (r#"{"arrayValue":{"values":[null,{"intValue":1},{"bytesValue":"AA=="}]}}"#, 5, r#"[null,1,"AA=="]"#),
            (
                r#"{"kvlistValue":{"values":[{"key":"a"},{"key":"b"},{"key":"a","value":{"doubleValue":1}}]}}"#,
                6,
                r#"{"a":1.0,"b":null}"#,
            ),
            (r#"{"bytesValue":"AA=="}"#, 7, "AA=="),
        ] {
            assert_eq!(read(json), Ok((kind, text.to_owned())), "{json}");
        }
    }

    /// What only the Python decoder reads, or two fields where one is meant.
    #[test]
    fn declined() {
        for json in [
            "5",
            "[]",
            r#"{"stringValue":5}"#,
            r#"{"stringValue":"a","stringValue":"b"}"#,
            r#"{"stringValue":"a","string_value":null}"#,
            r#"{"stringValue":"a","intValue":1}"#,
            r#"{"string\u0056alue":"a"}"#,
            r#"{"boolValue":1}"#,
            r#"{"intValue":true}"#,
            r#"{"intValue":"1_0"}"#,
            r#"{"intValue":"9223372036854775808"}"#,
            r#"{"intValue":{"low":1}}"#,
            r#"{"doubleValue":"1"}"#,
            r#"{"arrayValue":[]}"#,
            r#"{"arrayValue":{"values":5}}"#,
            r#"{"arrayValue":{"values":[5]}}"#,
            r#"{"kvlistValue":{"values":[null]}}"#,
            r#"{"bytesValue":"AA"}"#,
        ] {
            assert_eq!(read(json), Err(Declined), "{json}");
        }
    }
}
