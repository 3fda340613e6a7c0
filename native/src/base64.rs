//! Base64 with padding (RFC 4648), as proto3 JSON has bytes.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the digits of `bytes`.
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, place| bits << 8 | usize::from(three.get(place).copied().unwrap_or(0)));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63]);
        out.extend_from_slice(&digits[..=three.len()]);
        out.extend(std::iter::repeat_n(b'=', 3 - three.len()));
    }
}

/// Whether these are the digits that `append` would write of some bytes.
pub fn is_canonical(digits: &[u8]) -> bool {
    let padding = digits.iter().rev().take(2).take_while(|digit| **digit == b'=').count();
    let plain = &digits[..digits.len() - padding];
    let spare_bits = (1 << (2 * padding)) - 1;
    digits.len().is_multiple_of(4)
        && plain.iter().all(|digit| value_of(*digit).is_some())
        && plain.last().is_none_or(|last| value_of(*last).unwrap_or(0) & spare_bits == 0)
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    /// The examples of RFC 4648, section 10.
    #[test]
    fn examples() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (plain, coded) in examples {
            let mut out = vec![];
            super::append(&mut out, plain.as_bytes());
            assert_eq!(out, coded.as_bytes());
            assert!(super::is_canonical(coded.as_bytes()), "{coded}");
        }
    }

    /// Without padding, with too much of it, with bits to spare, or in another alphabet, digits are not ours.
    #[test]
    fn other_spellings() {
        for digits in ["Zg", "Zg=", "Zh==", "Zm9=", "Z===", "=", "====", "Zm=v", "Zm8=Zm8=", "Zm-_", "Zm9 "] {
            assert!(!super::is_canonical(digits.as_bytes()), "{digits}");
        }
    }
}
