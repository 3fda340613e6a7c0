//! How many parts a body has, before anything is made of it; `otlp_receiver/decode/density.py` has the reasons.

use crate::kinds::{KINDS, Kind, Part};
use crate::problems::Problem;
use crate::wire::MOST_LEVELS;

const LEAST_PART_BYTES: usize = 2;
const LENGTH_DELIMITED: u128 = 2;
const MOST_NUMBER_BYTES: usize = 10;

/// Refuses a body with more parts than `most_parts`; only a body that may have as many is looked at.
pub fn require_sparse(body: &[u8], most_parts: usize) -> Result<(), Problem> {
    let is_short = body.len() <= most_parts.saturating_mul(LEAST_PART_BYTES);
    if is_short || length_delimited(body) <= most_parts || suspects(body) <= most_parts {
        return Ok(());
    }
    Walk { body, place: 0, count: 0, most_parts }.run()
}

/// Bytes that may begin a length-delimited field: more than may begin a part, but counted many at once.
fn length_delimited(body: &[u8]) -> usize {
    const MOST_IN_A_BYTE: usize = 255;
    let in_chunk = |chunk: &[u8]| chunk.iter().fold(0_u8, |count, byte| count.wrapping_add(u8::from(byte & 7 == 2)));
    body.chunks(MOST_IN_A_BYTE).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

/// Bytes that may begin a part, also tags that are written longer than they need to be; never too few.
fn suspects(body: &[u8]) -> usize {
    let mut begins = [false; 256];
    for (number, _) in KINDS.iter().flat_map(|kind| kind.parts()) {
        let tag = (number << 3 | 2) as usize & 0x7F;
        begins[tag] = true;
        begins[tag | 0x80] = true;
    }
    body.iter().filter(|byte| begins[usize::from(**byte)]).count()
}

/// Goes along the wire format without a look at what the fields mean, and counts.
struct Walk<'a> {
    body: &'a [u8],
    place: usize,
    count: usize,
    most_parts: usize,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Problem> {
        let mut around: Vec<(usize, Kind)> = vec![];
        let (mut end, mut kind) = (self.body.len(), Kind::Request);
        loop {
            while self.place >= end {
                match around.pop() {
                    None => return Ok(()),
                    Some(outer) => (end, kind) = outer,
                }
            }
            let Some((part_end, part)) = self.field(kind, end)? else { continue };
            around.push((end, kind));
            (end, kind) = (part_end, part);
            if around.len() > usize::from(MOST_LEVELS) {
                let problem = format!("the body nests messages deeper than {MOST_LEVELS} levels");
                return Err(Problem::NotCountable(problem));
            }
        }
    }

    /// Goes past a field, or into the message that it holds: then the message's end and kind.
    fn field(&mut self, kind: Kind, end: usize) -> Result<Option<(usize, Kind)>, Problem> {
        let tag = self.number()?;
        if tag & 7 != LENGTH_DELIMITED {
            return self.skip(tag & 7).map(|()| None);
        }
        let size = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let part_end = self.place.saturating_add(size);
        if part_end > end {
            return Err(not_protobuf(&format!("the field at byte {} is longer than its message", self.place)));
        }
        let part = u32::try_from(tag >> 3).ok().and_then(|number| kind.part(number));
        if part.is_some() {
            self.count_one()?;
        }
        if let Some(Part::Message(kind)) = part {
            return Ok(Some((part_end, kind)));
        }
        self.place = part_end;
        Ok(None)
    }

    fn count_one(&mut self) -> Result<(), Problem> {
        self.count += 1;
        if self.count > self.most_parts { Err(Problem::TooManyParts) } else { Ok(()) }
    }

    fn skip(&mut self, wire_type: u128) -> Result<(), Problem> {
        match wire_type {
            0 => self.number().map(drop)?,
            1 => self.place += 8,
            5 => self.place += 4,
            _ => return Err(not_protobuf(&format!("wire type {wire_type} at byte {}", self.place))),
        }
        Ok(())
    }

    /// A number with all the bits that ten bytes can have.
    fn number(&mut self) -> Result<u128, Problem> {
        let mut value = 0;
        for shift in 0..MOST_NUMBER_BYTES {
            let byte = self.body.get(self.place).ok_or_else(|| not_protobuf("it ends within a field"))?;
            self.place += 1;
            value |= u128::from(byte & 0x7F) << (7 * shift);
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(not_protobuf(&format!("no number ends before byte {}", self.place)))
    }
}

#[cold]
fn not_protobuf(what: &str) -> Problem {
    Problem::NotCountable(format!("the body is not protobuf: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part counts, the last one allowed too, and one more is refused.
    #[test]
    fn the_count_is_exact() {
        let body = [0x0A, 0x00].repeat(101);
        assert_eq!(Walk { body: &body, place: 0, count: 0, most_parts: 101 }.run(), Ok(()));
        assert_eq!(Walk { body: &body, place: 0, count: 0, most_parts: 100 }.run(), Err(Problem::TooManyParts));
    }

    /// A body that is too short for too many parts is not looked at, nor is one without bytes that begin a part.
    #[test]
    fn most_bodies_are_not_walked() {
        assert_eq!(require_sparse(&[0xFF; 200], 100), Ok(()));
        assert_eq!(require_sparse(&[0xFF; 2000], 100), Ok(()));
    }
}
