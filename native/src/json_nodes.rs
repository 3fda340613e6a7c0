//! A JSON text as a row of nodes (RFC 8259): each byte is looked at once, then what it says is read in any order.

use crate::declined::{Declined, Done};
use crate::json_strings::Quoted;

/// Containers inside each other; OTLP's own are three a level of an attribute's value.
const MOST_LEVELS: u8 = 128;

/// One value, or the key of one; what a container holds follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<'a> {
    /// null.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number without a fraction or an exponent.
    Integer(i64),
    /// Another number.
    Double(f64),
    /// A string.
    Text(Quoted<'a>),
    /// An array of so many nodes, this one among them.
    Array(usize),
    /// An object in the same way; keys and values by turns.
    Object(usize),
}

impl Node<'_> {
    #[inline]
    fn size(&self) -> usize {
        match self {
            Self::Array(size) | Self::Object(size) => *size,
            _ => 1,
        }
    }
}

/// A value: its node, and all that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Value<'n, 'a>(&'n [Node<'a>]);

impl<'n, 'a> Value<'n, 'a> {
    /// What it is.
    #[inline]
    pub fn node(self) -> &'n Node<'a> {
        &self.0[0]
    }

    /// What a container holds, in the order sent; of an object keys and values by turns.
    #[inline]
    pub fn content(self) -> Content<'n, 'a> {
        Content(&self.0[1..])
    }
}

/// Goes through the values of a container.
pub struct Content<'n, 'a>(&'n [Node<'a>]);

impl<'n, 'a> Iterator for Content<'n, 'a> {
    type Item = Value<'n, 'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = self.0.split_at(self.0.first()?.size());
        self.0 = rest;
        Some(Value(value))
    }
}

/// The nodes of one text at a time; their memory serves the next one.
#[derive(Default)]
pub struct Nodes<'a>(Vec<Node<'a>>);

impl<'a> Nodes<'a> {
    /// The value that a text holds, which has at most so many values inside others.
    pub fn read(&mut self, body: &'a [u8], most_values: usize) -> Result<Value<'_, 'a>, Declined> {
        self.0.clear();
        let text = str::from_utf8(body).or(Err(Declined))?;
        let mut reader = Reader { text, place: 0, values_left: most_values, nodes: &mut self.0 };
        reader.value(MOST_LEVELS)?;
        if reader.next_byte().is_some() {
            return Err(Declined);
        }
        Ok(Value(&self.0))
    }
}

struct Reader<'a, 'n> {
    text: &'a str,
    place: usize,
    values_left: usize,
    nodes: &'n mut Vec<Node<'a>>,
}

impl Reader<'_, '_> {
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    /// The first byte that is no white space.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.place += 1;
        }
        self.byte()
    }

    /// Whether this byte is next, which is then behind us.
    #[inline]
    fn took(&mut self, byte: u8) -> bool {
        let is_next = self.byte() == Some(byte);
        self.place += usize::from(is_next);
        is_next
    }

    #[inline]
    fn value(&mut self, levels: u8) -> Done {
        match self.next_byte().ok_or(Declined)? {
            b'"' => self.string(),
            b'{' => self.container(levels, b'}'),
            b'[' => self.container(levels, b']'),
            b't' => self.word("true", Node::Bool(true)),
            b'f' => self.word("false", Node::Bool(false)),
            b'n' => self.word("null", Node::Null),
            _ => self.number(),
        }
    }

    fn container(&mut self, levels: u8, close: u8) -> Done {
        let (levels, start) = (levels.checked_sub(1).ok_or(Declined)?, self.nodes.len());
        self.nodes.push(Node::Null);
        self.place += 1;
        self.count_one()?;
        if self.next_byte() == Some(close) {
            self.place += 1;
        } else {
            self.inside(levels, close)?;
        }
        let size = self.nodes.len() - start;
        self.nodes[start] = if close == b'}' { Node::Object(size) } else { Node::Array(size) };
        Ok(())
    }

    /// As `is_dense_json` counts: each opening bracket and each comma.
    #[inline]
    fn count_one(&mut self) -> Done {
        self.values_left = self.values_left.checked_sub(1).ok_or(Declined)?;
        Ok(())
    }

    /// One value or more, and the bracket that closes.
    #[inline]
    fn inside(&mut self, levels: u8, close: u8) -> Done {
        loop {
            if close == b'}' {
                self.key()?;
            }
            self.value(levels)?;
            let after = self.next_byte();
            self.place += 1;
            match after {
                Some(b',') => self.count_one()?,
                Some(byte) if byte == close => return Ok(()),
                _ => return Err(Declined),
            }
        }
    }

    #[inline]
    fn key(&mut self) -> Done {
        if self.next_byte() != Some(b'"') {
            return Err(Declined);
        }
        self.string()?;
        self.next_byte();
        if self.took(b':') { Ok(()) } else { Err(Declined) }
    }

    #[inline]
    fn string(&mut self) -> Done {
        let (text, length) = Quoted::read(&self.text[self.place + 1..])?;
        self.place += length + 2;
        self.nodes.push(Node::Text(text));
        Ok(())
    }

    fn word(&mut self, word: &str, node: Node<'static>) -> Done {
        if !self.text.as_bytes()[self.place..].starts_with(word.as_bytes()) {
            return Err(Declined);
        }
        self.place += word.len();
        self.nodes.push(node);
        Ok(())
    }

    /// A number that 64 bits can hold; what is whole and larger is left to the other decoder.
    fn number(&mut self) -> Done {
        let start = self.place;
        self.took(b'-');
        if !self.took(b'0') {
            self.digits()?;
        }
        let whole = self.place;
        if self.took(b'.') {
            self.digits()?;
        }
        if self.took(b'e') || self.took(b'E') {
            let _ = self.took(b'+') || self.took(b'-');
            self.digits()?;
        }
        let text = &self.text[start..self.place];
        let double = || text.parse().ok().filter(|value: &f64| value.is_finite()).map(Node::Double);
        let node = if self.place == whole { text.parse().ok().map(Node::Integer) } else { double() };
        self.nodes.push(node.ok_or(Declined)?);
        Ok(())
    }

    /// One or more.
    #[inline]
    fn digits(&mut self) -> Done {
        let start = self.place;
        while let Some(b'0'..=b'9') = self.byte() {
            self.place += 1;
        }
        if self.place > start { Ok(()) } else { Err(Declined) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &str) -> Result<Vec<Node<'_>>, Declined> {
        let mut nodes = Nodes::default();
        nodes.read(text.as_bytes(), 10)?;
        Ok(nodes.0)
    }

    /// Every kind of value becomes a node, and a container says how many follow it.
    #[test]
    fn every_kind() {
        let text = |text| Node::Text(Quoted::read(text).unwrap_or_default().0);
        let expected = vec![
            Node::Object(9),
            text("a\""),
            Node::Array(5),
            Node::Integer(-12),
            Node::Double(0.5),
            Node::Bool(true),
            Node::Array(1),
            text("b\""),
            Node::Null,
        ];
        assert_eq!(nodes(" {\"a\" : [-12, 5e-1,true ,[ ]], \"b\":null}\r\n\t"), Ok(expected));
    }

    /// Numbers as RFC 8259 has them, of 64 bits.
    #[test]
    fn numbers() {
        for (number, node) in [
            ("0", Node::Integer(0)),
            ("-0", Node::Integer(0)),
            ("-0.0", Node::Double(-0.0)),
            ("9223372036854775807", Node::Integer(i64::MAX)),
            ("-9223372036854775808", Node::Integer(i64::MIN)),
            ("1E+2", Node::Double(100.0)),
            ("0.1e-5", Node::Double(1e-6)),
            ("1e-400", Node::Double(0.0)),
        ] {
            assert_eq!(nodes(number), Ok(vec![node]), "{number}");
        }
    }

    /// What is no JSON, or larger than what is read here, is left to the other decoder.
    #[test]
    fn declined() {
        for text in [
            "",
            " ",
            "nul",
            "truth",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[1 2]",
            "[1}",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\":1]",
            "1 2",
            "]",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e999",
            "NaN",
            "\u{FEFF}1",
            "9223372036854775808",
            "\u{B}1",
            "\"open",
        ] {
            assert_eq!(nodes(text), Err(Declined), "{text}");
        }
        assert_eq!(Nodes::default().read(b"\"\xff\"", 10).map(drop), Err(Declined));
    }

    /// Containers are taken to their number of levels, and values up to their number.
    #[test]
    fn limits() {
        let nested = |levels| ["[".repeat(levels), "]".repeat(levels)].concat();
        let read = |text: &str, most| Nodes::default().read(text.as_bytes(), most).map(drop);
        assert_eq!(read(&nested(128), 128), Ok(()));
        assert_eq!(read(&nested(129), 129), Err(Declined));
        assert_eq!(read(&nested(128), 127), Err(Declined));
        assert_eq!((read("[1,{\"a\":2}]", 3), read("[1,{\"a\":2}]", 2)), (Ok(()), Err(Declined)));
    }
}
