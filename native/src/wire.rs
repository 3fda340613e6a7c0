//! The wire format (protobuf.dev, "Encoding"), read as strictly and as leniently as protobuf's own parser does.

#![allow(clippy::inline_always)] // measured: a fifth more spans a second than with what the compiler chooses

/// Levels of messages and groups inside the outermost message, the default of protobuf's parser.
pub const MOST_LEVELS: u8 = 100;

/// Why bytes are no message; protobuf's parser has a text for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Cut, or not of the wire format; groups that are nested too deeply too.
    Corrupt,
    /// Messages nested too deeply.
    TooDeep,
}

/// How many more levels a message may open.
#[derive(Clone, Copy, Debug)]
pub struct Depth(u8);

impl Depth {
    /// Of the outermost message.
    pub const OUTERMOST: Self = Self(MOST_LEVELS);

    /// Of a message inside one of this depth.
    pub fn deeper(self) -> Result<Self, Malformed> {
        self.0.checked_sub(1).map(Self).ok_or(Malformed::TooDeep)
    }
}

/// What a field holds; its declared type decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Base-128; what goes beyond 64 bits is dropped.
    Number(u64),
    /// Fixed, 64 bits.
    Fixed64(u64),
    /// Text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Fixed, 32 bits.
    Fixed32(u32),
}

/// Number and content of one field.
pub type Field<'a> = (u32, Value<'a>);

/// Yields the fields of one message; groups, which OTLP has none of, are read and left out.
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: Depth,
}

const MOST_TAG_BYTES: usize = 5;
const MOST_NUMBER_BYTES: usize = 10;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;

impl<'a> Reader<'a> {
    /// Starts at the first field of a message.
    pub fn new(message: &'a [u8], depth: Depth) -> Self {
        Self { rest: message, depth }
    }

    /// The next field, none at the end of the message.
    #[inline(always)]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        while !self.rest.is_empty() {
            let tag = self.tag()?;
            if tag >> 3 == 0 {
                return Err(Malformed::Corrupt);
            }
            match tag & 7 {
                START_GROUP => self.skip_group(tag, self.depth)?,
                wire_type => return Ok(Some((tag >> 3, self.value(wire_type)?))),
            }
        }
        Ok(None)
    }

    #[inline(always)]
    fn value(&mut self, wire_type: u32) -> Result<Value<'a>, Malformed> {
        match wire_type {
            0 => self.number(MOST_NUMBER_BYTES).map(Value::Number),
            1 => self.fixed().map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
            2 => self.length().and_then(|length| self.take(length)).map(Value::Bytes),
            5 => self.fixed().map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
            _ => Err(Malformed::Corrupt),
        }
    }

    /// Behind the end of a group; inside it field numbers mean nothing, not even 0.
    #[cold]
    fn skip_group(&mut self, start: u32, depth: Depth) -> Result<(), Malformed> {
        let depth = depth.deeper().or(Err(Malformed::Corrupt))?;
        loop {
            let tag = self.tag()?;
            match tag & 7 {
                END_GROUP if tag >> 3 == start >> 3 => return Ok(()),
                START_GROUP => self.skip_group(tag, depth)?,
                wire_type => drop(self.value(wire_type)?),
            }
        }
    }

    #[inline(always)]
    fn tag(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number(MOST_TAG_BYTES)?).or(Err(Malformed::Corrupt))
    }

    #[inline(always)]
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.number(MOST_TAG_BYTES)?;
        i32::try_from(length).ok().and_then(|length| usize::try_from(length).ok()).ok_or(Malformed::Corrupt)
    }

    #[inline(always)]
    fn number(&mut self, most_bytes: usize) -> Result<u64, Malformed> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(most_bytes),
        }
    }

    fn long_number(&mut self, most_bytes: usize) -> Result<u64, Malformed> {
        let mut value = 0;
        for (place, byte) in self.rest.iter().take(most_bytes).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * place);
            if *byte < 0x80 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(Malformed::Corrupt)
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Corrupt)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Corrupt)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Calls `visit` with every field of a message of this depth.
#[inline(always)]
pub fn fields<'a, E: From<Malformed>>(
    message: &'a [u8],
    depth: Depth,
    mut visit: impl FnMut(Field<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(message, depth);
    while let Some(field) = reader.next_field()? {
        visit(field)?;
    }
    Ok(())
}

/// A message that a sender may have put into several pieces: to merge them is to read them one after the other.
#[derive(Clone, Default)]
pub struct Pieces<'a> {
    first: Option<&'a [u8]>,
    more: Vec<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    /// A message of one piece.
    #[inline(always)]
    pub fn one(message: &'a [u8]) -> Self {
        Self { first: Some(message), more: Vec::new() }
    }

    /// One more piece.
    #[inline(always)]
    pub fn push(&mut self, piece: &'a [u8]) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.more.push(piece),
        }
    }

    /// The text, when all that was sent is a first field with one of fewer than 128 bytes: most values are that.
    #[inline(always)]
    pub fn only_text(&self) -> Option<&'a [u8]> {
        const TEXT_FIELD: u8 = 1 << 3 | 2;
        match self.first {
            Some([TEXT_FIELD, size @ ..0x80, text @ ..])
                if text.len() == usize::from(*size) && self.more.is_empty() =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// The pieces in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.first.iter().chain(&self.more).copied()
    }

    /// Calls `visit` with the depth of this message, which stands in one of depth `outer`, and every field of it.
    #[inline(always)]
    pub fn fields<E: From<Malformed>>(
        &self,
        outer: Depth,
        mut visit: impl FnMut(Depth, Field<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in self.iter() {
            let depth = outer.deeper()?;
            fields(piece, depth, |field| visit(depth, field))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
        let mut reader = Reader::new(message, Depth::OUTERMOST);
        std::iter::from_fn(|| reader.next_field().transpose()).collect()
    }

    /// Each wire type is read with its number and its value.
    #[test]
    fn every_wire_type() {
        let message = [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1A, 2, b'h', b'i', 0x25, 2, 0, 0, 0];
        let expected =
            vec![(1, Value::Number(150)), (2, Value::Fixed64(1)), (3, Value::Bytes(b"hi")), (4, Value::Fixed32(2))];
        assert_eq!(all(&message), Ok(expected));
    }

    /// Whatever is cut, at whatever byte inside a field, is refused.
    #[test]
    fn cut_fields() {
        for message in [&[0x08, 0x96, 0x01][..], &[0x11, 1, 2, 3, 4, 5, 6, 7, 8], &[0x1A, 2, 1, 1], &[0x25, 1, 2, 3, 4]]
        {
            assert!(all(message).is_ok());
            for length in 1..message.len() {
                assert_eq!(all(&message[..length]), Err(Malformed::Corrupt), "{message:?} cut to {length}");
            }
        }
    }

    /// Numbers longer than needed are read, ones longer than ten bytes refused, bits beyond the 64th dropped.
    #[test]
    fn long_numbers() {
        let number = |value| Ok(vec![(1, Value::Number(value))]);
        assert_eq!(all(&[0x08, 0x81, 0x80, 0x00]), number(1));
        assert_eq!(all(&[&[0x08][..], &[0xFF; 9], &[0x7F]].concat()), number(u64::MAX));
        assert_eq!(all(&[&[0x08][..], &[0x80; 10], &[0x00]].concat()), Err(Malformed::Corrupt));
    }

    /// Tags have at most five bytes and 32 bits, lengths 31 bits; field 0 and the unused wire types do not exist.
    #[test]
    fn limits_of_tags_and_lengths() {
        assert_eq!(all(&[0x90, 0x80, 0x80, 0x80, 0x0F, 7]), Ok(vec![(0x1E00_0002, Value::Number(7))]));
        for message in [
            &[0x90, 0x80, 0x80, 0x80, 0x10, 0][..],
            &[0x90, 0x80, 0x80, 0x80, 0x80, 0, 0],
            &[0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
            &[0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[0x00, 0x00],
            &[0x0E],
            &[0x0F],
        ] {
            assert_eq!(all(message), Err(Malformed::Corrupt), "{message:?}");
        }
    }

    /// Groups are left out with all that is in them; one that does not end, or ends as another, is refused.
    #[test]
    fn groups() {
        assert_eq!(all(&[0x13, 0x08, 1, 0x1B, 0x1C, 0x00, 0x00, 0x14, 0x08, 2]), Ok(vec![(1, Value::Number(2))]));
        for message in [&[0x13][..], &[0x13, 0x1C], &[0x14], &[0x13, 0x1B, 0x14, 0x1C]] {
            assert_eq!(all(message), Err(Malformed::Corrupt), "{message:?}");
        }
        let nested = |levels| [vec![0x13; levels], vec![0x14; levels]].concat();
        assert_eq!(all(&nested(100)), Ok(vec![]));
        assert_eq!(all(&nested(101)), Err(Malformed::Corrupt));
    }

    /// Pieces are read as if they were one message, and no piece is no message: it opens no level.
    #[test]
    fn pieces() {
        let mut pieces = Pieces::one(&[0x08, 1]);
        pieces.push(&[0x08, 2]);
        let mut found = vec![];
        let visit = |_, (_, value)| -> Result<(), Malformed> {
            found.push(value);
            Ok(())
        };
        assert_eq!(pieces.fields(Depth::OUTERMOST, visit), Ok(()));
        assert_eq!(found, [Value::Number(1), Value::Number(2)]);
        assert_eq!(Pieces::default().fields(Depth(0), |_, _| Err(Malformed::Corrupt)), Ok(()));
        assert_eq!(pieces.fields(Depth(0), |_, _| Ok(())), Err(Malformed::TooDeep));
    }
}
