//! Why a request is refused as a whole.

use crate::declined::Declined;
use crate::wire::Malformed;

/// The reason; `python.rs` has its name there.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not refused, but left to the Python decoder.
    Declined,
    /// No message of the wire format.
    Malformed(Malformed),
    /// More parts than are allowed in one request.
    TooManyParts,
    /// Found while the parts were counted, in words.
    NotCountable(String),
    /// More spans than are allowed in one request.
    TooManySpans,
    /// So many bytes of resource and scope attributes would be stored, once with every span.
    TooMuchRepeated(u64),
    /// One column of text would be longer than Arrow's 2 GiB.
    TooMuchText,
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Declined> for Problem {
    fn from(_: Declined) -> Self {
        Self::Declined
    }
}
