//! The module `otlp_receiver_native`; `otlp_receiver/decode/native.py` is its one caller.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::columns::Buffer;
use crate::decode::{Body, Decoded, Limits, Outcome, decode};
use crate::problems::Problem;
use crate::wire::Malformed;

/// OTLP traces to Arrow buffers, without the GIL.
#[pymodule]
mod otlp_receiver_native {
    /// Grows with every change of arguments or answers: a module of another version is not used.
    #[pymodule_export]
    const INTERFACE: u32 = 2;

    #[pymodule_export]
    use super::decode_traces;
}

/// A refused span: its indexes, and its ids as sent.
type Named = ([usize; 3], [Vec<u8>; 3]);
/// Name of the problem or nothing, its words, its number; spans, refused spans, the first of them; rows of tables.
type Answer = (&'static str, String, u64, usize, usize, Vec<Named>, [usize; 5]);
/// Rows and buffers of the ten tables; the answers; entries; repeated bytes.
type Answers = (Vec<(usize, Vec<ArrowBuffer>)>, Vec<Answer>, usize, u64);

/// Decode (number, whether it is JSON, body) of many requests; None when several are too much for one table.
///
/// `limits` are those of `decode::Limits`, in their order.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // an argument from Python cannot be borrowed
fn decode_traces(
    py: Python<'_>,
    bodies: Vec<(usize, bool, PyBackedBytes)>,
    limits: (usize, usize, usize, usize, u64),
    is_alone: bool,
) -> PyResult<Option<Answers>> {
    let (parts, spans, spans_together, entries_together, repeated_bytes) = limits;
    let limits = Limits { parts, spans, spans_together, entries_together, repeated_bytes };
    let body = |is_json, body| if is_json { Body::Json(body) } else { Body::Protobuf(body) };
    let requests = bodies.iter().map(|(number, is_json, bytes)| (*number, body(*is_json, &**bytes)));
    // A fault of ours must cost its request, not the thread: a Rust panic would be no `Exception` in Python.
    let decoded = py.detach(|| catch_unwind(AssertUnwindSafe(|| decode(requests, &limits, is_alone))));
    decoded.map(|found| found.map(answers)).map_err(|_| PyRuntimeError::new_err("the compiled decoder panicked"))
}

fn answers(decoded: Decoded) -> Answers {
    let given = |(rows, buffers): (usize, Vec<Buffer>)| (rows, buffers.into_iter().map(ArrowBuffer).collect());
    let tables = decoded.tables.into_iter().map(given).collect();
    (tables, decoded.outcomes.into_iter().map(answer).collect(), decoded.entries, decoded.repeated_bytes)
}

fn answer((outcome, rows): Outcome) -> Answer {
    match outcome {
        Ok(taken) => ("", String::new(), 0, taken.spans, taken.refused, taken.named, rows),
        Err(problem) => {
            let (name, words, number) = spelled(problem);
            (name, words, number, 0, 0, vec![], rows)
        }
    }
}

fn spelled(problem: Problem) -> (&'static str, String, u64) {
    match problem {
        Problem::Declined => ("declined", String::new(), 0),
        Problem::Malformed(Malformed::Corrupt) => ("corrupt", String::new(), 0),
        Problem::Malformed(Malformed::TooDeep) => ("too deep", String::new(), 0),
        Problem::TooManyParts => ("too many parts", String::new(), 0),
        Problem::NotCountable(words) => ("not countable", words, 0),
        Problem::TooManySpans => ("too many spans", String::new(), 0),
        Problem::TooMuchRepeated(bytes) => ("too much repeated", String::new(), bytes),
        Problem::TooMuchText => ("too much text", String::new(), 0),
    }
}

/// Memory that Python reads in place and never writes; it lives as long as its last reader.
#[pyclass(frozen)]
struct ArrowBuffer(Buffer);

impl ArrowBuffer {
    fn memory(&self) -> (*const c_void, usize) {
        match &self.0 {
            Buffer::U8(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
            Buffer::I32(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
            Buffer::U32(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
            Buffer::U64(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
        }
    }
}

#[pymethods]
#[allow(unsafe_code)] // the one place: Python's buffer protocol is pointers
impl ArrowBuffer {
    /// Hands out the memory, read-only.
    ///
    /// # Safety
    ///
    /// `view` comes from Python. The memory is a frozen object's, to which the view holds a reference; a vector
    /// that is never touched again does not move.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (start, bytes) = slf.get().memory();
        let bytes = isize::try_from(bytes)?;
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast_mut(), bytes, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
