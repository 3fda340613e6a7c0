//! Fields of objects inside OTLP/JSON, as `otlp_receiver/decode/json_values.py` reads them; what is odd is declined.

use crate::columns::index;
use crate::declined::{Declined, Done};
use crate::json_nodes::{Node, Value};
use crate::json_strings::Quoted;

/// A value that may be absent or null, which is the same (proto3 JSON).
pub type Maybe<'n, 'a> = Option<Value<'n, 'a>>;

/// The spellings of one field.
pub type Names = &'static [&'static str];

/// The fields of a `KeyValue`.
pub const KEY_VALUE: [Names; 2] = [&["key"], &["value"]];
const HALVES: [Names; 2] = [&["low"], &["high"]];
const MOST_INTEGER_BYTES: usize = 20;

/// Unless it is null.
#[inline]
pub fn not_null<'n, 'a>(value: Value<'n, 'a>) -> Maybe<'n, 'a> {
    (*value.node() != Node::Null).then_some(value)
}

/// The fields of an object by name; declines one that comes twice, in whatever spelling.
///
/// `names` are best in the order that senders have: each is looked for behind the one before.
#[inline]
pub fn fields<'n, 'a, const N: usize>(
    object: Maybe<'n, 'a>,
    names: &[Names; N],
) -> Result<[Maybe<'n, 'a>; N], Declined> {
    let (mut found, mut is_there, mut guess) = ([None; N], [false; N], 0);
    each_field(object, |key, value| {
        let place = (guess..N).chain(0..guess).find(|place| names[*place].contains(&key));
        let Some(place) = place else { return Ok(()) };
        (found[place], guess) = (not_null(value), place + 1);
        if std::mem::replace(&mut is_there[place], true) { Err(Declined) } else { Ok(()) }
    })?;
    Ok(found)
}

/// Calls `visit` with each key and value; keys are as sent, those with escapes are declined.
#[inline]
pub fn each_field<'n, 'a>(object: Maybe<'n, 'a>, mut visit: impl FnMut(&'a str, Value<'n, 'a>) -> Done) -> Done {
    let Some(object) = object else { return Ok(()) };
    let Node::Object(_) = object.node() else { return Err(Declined) };
    let mut content = object.content();
    while let (Some(key), Some(value)) = (content.next(), content.next()) {
        let Node::Text(key) = key.node() else { return Err(Declined) };
        visit(key.as_sent().ok_or(Declined)?, value)?;
    }
    Ok(())
}

/// The entries of an array.
pub fn items<'n, 'a>(array: Maybe<'n, 'a>) -> Result<impl Iterator<Item = Maybe<'n, 'a>>, Declined> {
    let is_array = array.is_none_or(|array| matches!(array.node(), Node::Array(_)));
    let content = array.into_iter().flat_map(Value::content).map(not_null);
    if is_array { Ok(content) } else { Err(Declined) }
}

/// A field of text.
#[inline]
pub fn text<'a>(value: Maybe<'_, 'a>) -> Result<Quoted<'a>, Declined> {
    match value.map(Value::node) {
        None => Ok(Quoted::default()),
        Some(Node::Text(text)) => Ok(*text),
        Some(_) => Err(Declined),
    }
}

/// A whole number, also in a string, or as a pair of 32-bit halves (OpenTelemetry's JavaScript 0.44); 0 when there is
/// none.
pub fn whole(value: Maybe) -> Result<i128, Declined> {
    match value.map(Value::node) {
        None => Ok(0),
        Some(Node::Integer(value)) => Ok(i128::from(*value)),
        Some(Node::Text(text)) => parse_whole(*text),
        Some(Node::Object(_)) => whole_of_halves(fields(value, &HALVES)?),
        Some(_) => Err(Declined),
    }
}

fn whole_of_halves(halves: [Maybe; 2]) -> Result<i128, Declined> {
    match halves.map(|half| half.map(Value::node)) {
        [Some(Node::Integer(low)), Some(Node::Integer(high))] => {
            let half = |bits: &i64| i128::from(*bits) & i128::from(u32::MAX);
            Ok(half(high) << 32 | half(low))
        }
        _ => Err(Declined),
    }
}

fn parse_whole(text: Quoted) -> Result<i128, Declined> {
    let digits = text.as_sent().filter(|digits| digits.len() <= MOST_INTEGER_BYTES);
    digits.and_then(|digits| digits.parse().ok()).ok_or(Declined)
}

/// An unsigned 32-bit number, 0 for what is none.
pub fn uint32(value: Maybe) -> Result<u32, Declined> {
    whole(value).map(|value| u32::try_from(value).unwrap_or(0))
}

/// An unsigned 64-bit number, none for what is none.
pub fn uint64(value: Maybe) -> Result<Option<u64>, Declined> {
    whole(value).map(|value| u64::try_from(value).ok())
}

/// The number of an enum's member, also by its name.
pub fn enumerated(value: Maybe, names: &[&str]) -> Result<i32, Declined> {
    let number = match value.map(Value::node) {
        Some(Node::Object(_)) => return Err(Declined),
        Some(Node::Text(name)) => names.iter().position(|each| name.as_sent() == Some(each)),
        _ => None,
    };
    let number = number.map_or_else(|| whole(value), |number| Ok(i128::from(index(number))))?;
    Ok(i32::try_from(number).unwrap_or(0))
}

/// The bytes that hexadecimal digits say.
pub fn hexadecimal(value: Maybe) -> Result<Vec<u8>, Declined> {
    let digits = text(value)?.as_sent().ok_or(Declined)?.as_bytes();
    let pairs = digits.chunks_exact(2);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let is_even = pairs.remainder().is_empty();
    pairs.map(byte).collect::<Option<_>>().filter(|_| is_even).ok_or(Declined)
}
