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
        }
    }
}
