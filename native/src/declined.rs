//! What is left to the Python decoder.

/// A JSON body beyond the ordinary: malformed, too much, or in a spelling that only the Python decoder reads.
///
/// It alone then decides what becomes of the whole body, and finds the words; what is not declined must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declined;

/// Nothing, unless declined.
pub type Done = Result<(), Declined>;
