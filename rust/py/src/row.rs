//! A row of the request log as Python sees it: a struct sequence, which is a tuple whose fields
//! have names.

use std::{ffi::CStr, ptr};

use nemorouter_core::{journal::Journal, model::ModelName, slot::Slot, units::NONE};
use pyo3::{
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyInt, PyString, PyType},
};

/// The fields in their order: name and meaning. All but the slot are columns of the table
/// `requests`, in its order.
const FIELDS: [(&CStr, &CStr); 21] = [
    (c"slot", c"Place in the journal, to be given back to Journal.free."),
    (c"journal_id", c"Random 63-bit id of the journal."),
    (c"seq", c"Number of the ticket in its journal. (journal_id, seq) is the id of the row."),
    (c"at_ms", c"Time of admission, Unix ms; it decides the budget window of every scope."),
    (c"key_id", c"Id of the key."),
    (c"team_id", c"Id of the key's team."),
    (c"user_id", c"Id of the key's user, 0 = none."),
    (c"org_id", c"Id of the key's org."),
    (c"model", c"Name of the model."),
    (c"upstream", c"Name of the upstream."),
    (c"endpoint", c"Number of the endpoint (types.Endpoint)."),
    (c"status", c"HTTP status of the answer, 0 = none."),
    (c"outcome", c"Number of the outcome (types.Outcome)."),
    (c"stream", c"1 if the answer was streamed."),
    (c"input_tokens", c"Input tokens."),
    (c"cached_tokens", c"Input tokens that the provider read from a cache (part of input_tokens)."),
    (c"output_tokens", c"Output tokens."),
    (c"cost_nano", c"Cost in nano-USD; None = the model had no price."),
    (c"reserved_nano", c"Cost that was reserved at admission, nano-USD."),
    (c"latency_us", c"Latency of the whole answer, microseconds."),
    (c"ttft_us", c"Time to the first token, microseconds; None = none was seen."),
];

/// The type `_core.Row`, made at the first call.
pub fn row_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(TYPE.get_or_try_init(py, || make_type(py))?.bind(py))
}

fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let mut fields = FIELDS
        .map(|(name, doc)| ffi::PyStructSequence_Field { name: name.as_ptr(), doc: doc.as_ptr() })
        .to_vec();
    fields.push(ffi::PyStructSequence_Field { name: ptr::null(), doc: ptr::null() });
    let mut description = ffi::PyStructSequence_Desc {
        name: c"nemorouter._core.Row".as_ptr(),
        doc: c"A row of the request log; a tuple with named fields.".as_ptr(),
        fields: fields.as_mut_ptr(),
        n_in_sequence: i32::try_from(FIELDS.len())?,
    };
    // SAFETY: the description and the fields, ended by a null name, live until the call returns;
    // all texts are static.
    let made = unsafe { ffi::PyStructSequence_NewType(&raw mut description) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made.cast()) }?;
    Ok(made.cast_into::<PyType>()?.unbind())
}

/// Makes rows of one journal. A value that equals the row before's, as owners and model mostly do,
/// is that row's object.
pub struct Rows<'py> {
    py: Python<'py>,
    row: &'py Bound<'py, PyType>,
    journal_id: u64,
    upstreams: Vec<Bound<'py, PyAny>>,
    unknown: Bound<'py, PyAny>,
    model: Option<(ModelName, Bound<'py, PyAny>)>,
    numbers: [Option<(u64, Bound<'py, PyAny>)>; FIELDS.len()],
}

impl<'py> Rows<'py> {
    pub fn new(py: Python<'py>, journal: &Journal) -> PyResult<Self> {
        let text = |name: &str| PyString::new(py, name).into_any();
        Ok(Self {
            py,
            row: row_type(py)?,
            journal_id: journal.id(),
            upstreams: journal.upstreams().iter().map(|name| text(name)).collect(),
            unknown: text(""),
            model: None,
            numbers: [const { None }; FIELDS.len()],
        })
    }

    /// Makes the row of the ended ticket `seq` in the slot `at`.
    pub fn make(&mut self, at: usize, seq: u64, slot: Slot) -> PyResult<Bound<'py, PyAny>> {
        let [key, team, user, org] = slot.ids();
        let meta = slot.meta();
        let end = slot.end();
        let cost = if meta.priced { end.cost } else { NONE };
        let values = [
            self.number(0, at as u64),
            self.number(1, self.journal_id),
            self.number(2, seq),
            self.number(3, slot.at_ms()),
            self.number(4, key),
            self.number(5, team),
            self.number(6, user),
            self.number(7, org),
            self.model(slot.model()),
            self.upstreams.get(usize::from(meta.upstream)).unwrap_or(&self.unknown).clone(),
            self.number(10, u64::from(meta.endpoint)),
            self.number(11, u64::from(end.status)),
            self.number(12, u64::from(end.outcome)),
            self.number(13, u64::from(meta.stream)),
            self.number(14, end.input),
            self.number(15, end.cached),
            self.number(16, end.output),
            self.number(17, cost),
            self.number(18, slot.reserved_nano()),
            self.number(19, end.latency_us),
            self.number(20, end.ttft_us),
        ];
        self.fill(values)
    }

    fn fill(&self, values: [Bound<'py, PyAny>; FIELDS.len()]) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the type is a struct sequence type; the call returns a new reference, or null
        // with an exception set.
        let row = unsafe {
            let made = ffi::PyStructSequence_New(self.row.as_type_ptr());
            Bound::from_owned_ptr_or_err(self.py, made)?
        };
        for (place, value) in values.into_iter().enumerate() {
            // SAFETY: the row is new and nobody else has it; it has a place for each field, and
            // takes over the reference.
            unsafe {
                ffi::PyStructSequence_SetItem(row.as_ptr(), place.cast_signed(), value.into_ptr());
            }
        }
        Ok(row)
    }

    /// The number as Python's, `NONE` as None.
    fn number(&mut self, column: usize, value: u64) -> Bound<'py, PyAny> {
        match &self.numbers[column] {
            Some((last, object)) if *last == value => object.clone(),
            _ => {
                let object = match value {
                    NONE => self.py.None().into_bound(self.py),
                    _ => PyInt::new(self.py, value).into_any(),
                };
                self.numbers[column] = Some((value, object.clone()));
                object
            }
        }
    }

    fn model(&mut self, name: ModelName) -> Bound<'py, PyAny> {
        match &self.model {
            Some((last, object)) if *last == name => object.clone(),
            _ => {
                let object = PyString::new(self.py, &name.text()).into_any();
                self.model = Some((name, object.clone()));
                object
            }
        }
    }
}
