//! Doubles in the shortest text that gives the same double, in the two spellings of the Python decoder.

use std::io::Write;

use crate::columns::index;

/// How a text of digits is put.
struct Spelling {
    /// Exponents from here on have no zeros before the digits.
    least_fixed: i32,
    /// Digits that an exponent has at least.
    exponent_digits: usize,
}

const PYTHON: Spelling = Spelling { least_fixed: -4, exponent_digits: 2 };
const JSON: Spelling = Spelling { least_fixed: -5, exponent_digits: 1 };
/// Exponents from here on are written, in both spellings.
const MOST_FIXED: i32 = 16;

/// As Python's `repr`; what is not finite as proto3 JSON has it.
pub fn append_repr(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        append_spelled(out, value, &PYTHON);
    } else {
        out.extend_from_slice(name(value).as_bytes());
    }
}

/// As orjson writes it; what is not finite as text.
pub fn append_json(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        append_spelled(out, value, &JSON);
    } else {
        out.extend([b"\"", name(value).as_bytes(), b"\""].concat());
    }
}

/// Appends an integer.
pub fn append_integer(out: &mut Vec<u8>, value: i64) {
    let _ = write!(out, "{value}"); // a Vec takes whatever is written
}

fn name(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

fn append_spelled(out: &mut Vec<u8>, value: f64, spelling: &Spelling) {
    let (digits, exponent) = shortest(value.abs());
    if value.is_sign_negative() {
        out.push(b'-');
    }
    match exponent {
        0..MOST_FIXED => append_whole(out, &digits, exponent.unsigned_abs() as usize + 1),
        _ if exponent < 0 && exponent >= spelling.least_fixed => append_fraction(out, &digits, exponent),
        _ => append_exponent(out, &digits, exponent, spelling.exponent_digits),
    }
}

/// The fewest digits that give the same double, and the power of ten of the first one.
///
/// Not by the standard library: of two texts equally near it takes the other one than Python and orjson do.
fn shortest(value: f64) -> (Vec<u8>, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (number, power) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = [whole.as_bytes(), fraction.as_bytes()].concat();
    let Some(zeros) = all.iter().position(|digit| *digit != b'0') else { return (vec![b'0'], 0) };
    let end = all.iter().rposition(|digit| *digit != b'0').map_or(all.len(), |last| last + 1);
    let exponent = power.parse().unwrap_or(0) + index(whole.len()) - 1 - index(zeros);
    (all[zeros..end].to_vec(), exponent)
}

/// Digits with a point behind the first `whole`.
fn append_whole(out: &mut Vec<u8>, digits: &[u8], whole: usize) {
    let (before, after) = digits.split_at(whole.min(digits.len()));
    out.extend_from_slice(before);
    out.extend(std::iter::repeat_n(b'0', whole - before.len()));
    out.push(b'.');
    out.extend_from_slice(if after.is_empty() { b"0" } else { after });
}

/// Digits behind `0.` and zeros.
fn append_fraction(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.extend_from_slice(b"0.");
    out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
    out.extend_from_slice(digits);
}

/// `1.5e+300`.
fn append_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32, least_digits: usize) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "e{sign}{:0least_digits$}", exponent.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's and orjson's spelling of numbers around their thresholds.
    #[test]
    #[allow(clippy::excessive_precision)] // the digit too many is the case: two texts are equally near
    fn both_spellings() {
        for (value, python, json) in [
            (0.0, "0.0", "0.0"),
            (-0.0, "-0.0", "-0.0"),
            (0.1, "0.1", "0.1"),
            (1.0, "1.0", "1.0"),
            (123.456, "123.456", "123.456"),
            (0.0001, "0.0001", "0.0001"),
            (0.000_012, "1.2e-05", "0.000012"),
            (1e-6, "1e-06", "1e-6"),
            (900_158_590_106_983.25, "900158590106983.2", "900158590106983.2"),
            (1e15, "1000000000000000.0", "1000000000000000.0"),
            (1e16, "1e+16", "1e+16"),
            (-1.5e300, "-1.5e+300", "-1.5e+300"),
            (5e-324, "5e-324", "5e-324"),
            (f64::NAN, "NaN", "\"NaN\""),
            (f64::NEG_INFINITY, "-Infinity", "\"-Infinity\""),
        ] {
            let (mut repr, mut text) = (vec![], vec![]);
            append_repr(&mut repr, value);
            append_json(&mut text, value);
            assert_eq!((repr.as_slice(), text.as_slice()), (python.as_bytes(), json.as_bytes()));
        }
    }
}
